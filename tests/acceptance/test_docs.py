"""The documentation is true: every command in it runs and prints what the page shows, and the reference has
all that users can meet, and nothing else.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from typer.core import TyperCommand, TyperGroup

import meshcache_pg
from meshcache_pg import definition, errors, meshhook
from meshcache_pg.cli.app import build
from meshcache_pg.errors import SQLSTATES
from meshcache_pg.settings import Settings
from tests.fixtures.fix_cache import migrate_database
from tests.fixtures.fix_db import Database
from tests.fixtures.fix_docs import EXECUTED, PAGES, ROOT, Typist, blocks, matches

REFERENCE = ROOT / "docs" / "reference"


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def words(page: str) -> set[str]:
    """Everything that a page of the reference sets as code, whole and in its parts."""
    text = re.sub(r"(?ms)^```.*?^```", "", (REFERENCE / page).read_text(encoding="utf-8"))
    found = re.findall(r"`([^`]+)`", text)
    return {part for code in found for part in (code, *re.findall(r"--[\w-]+|[\w.]+", code))}


@pytest.mark.newest_major
@pytest.mark.parametrize(
    "page", [p for p in PAGES if any(b.verb != "not run" for b in blocks(p))], ids=name_of
)
def test_a_page_does_what_it_shows(page: Path, typist: Typist) -> None:
    typist.follow(page)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_is_run_or_says_why_not(page: Path) -> None:
    runs = False
    for block in blocks(page):
        if block.verb in {"not run", "file", "after"}:
            assert block.argument, block.where
            runs = False
        elif block.language == "text":
            assert runs, f"{block.where}: shows the output of nothing"
            runs = False
        else:
            assert block.language in EXECUTED, f"{block.where}: {block.language!r} is no language of a block"
            # What a console prints stands in the same block.
            runs = block.language != "console"


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("a  b", "a b\n", True),
        ("a … c", "a b c", True),
        ("a\n…\nd", "a\nb\nc\nd", True),
        ("a …", "b c", False),
        ("a", "a\nb", False),
        ("a b", "a.b", False),
    ],
)
def test_how_output_is_compared(shown: str, printed: str, same: bool) -> None:
    assert matches(shown, printed) is same


def commands(group: TyperGroup, path: str = "") -> Iterator[tuple[str, TyperCommand]]:
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from commands(command, f"{path}{name} ")
        elif isinstance(command, TyperCommand):
            yield path + name, command


def test_the_reference_has_every_verb_and_option() -> None:
    page = (REFERENCE / "cli.md").read_text(encoding="utf-8")
    section_of = {section.partition("\n")[0]: section for section in re.split(r"(?m)^#{2,3} ", page)}
    root = build()
    verbs = dict(commands(root))
    assert set(re.findall(r"(?m)^### (.+)$", page)) == set(verbs)
    shared = {option for param in root.params for option in param.opts if option.startswith("--")}
    known = {*shared, "--help"} - {"--install-completion", "--show-completion"}
    missing = [option for option in known if option not in section_of.get("Options of every verb", "")]
    for name, command in verbs.items():
        section = section_of[name]
        own = [o for param in command.params for o in param.opts if o.startswith("--") and o not in known]
        missing += [f"{name} {option}" for option in own if f"`{option}" not in section]
        offered = {*known, *own}
        missing += [
            f"{name} has no {option}"
            for option in re.findall(r"(?m)^\| `(--[\w-]+)", section)
            if option not in offered
        ]
    assert missing == []


def test_the_reference_has_every_setting_with_its_default() -> None:
    page = (REFERENCE / "environment.md").read_text(encoding="utf-8")
    for name, setting in Settings.model_fields.items():
        row = re.search(rf"^\| `MESHCACHE_{name.upper()}` \|.*$", page, re.MULTILINE)
        assert row, name
        default = {None: "none", True: "true", False: "false"}.get(setting.default, setting.default)
        if isinstance(default, tuple):
            default = f"`{','.join(default)}`"
        assert f"| {default:g} |" in row[0] if isinstance(default, float) else f"| {default} |" in row[0]


def test_the_reference_has_every_header_and_reserved_name() -> None:
    found = words("definition.md")
    assert set(definition._KEYS) - found == set()
    assert {*definition._RESERVED, *(f"*{suffix}" for suffix in definition._SUFFIXES)} - found == set()


def test_the_reference_has_every_public_name_and_error() -> None:
    found = words("python.md")
    classes = {
        name for name, one in vars(errors).items() if isinstance(one, type) and issubclass(one, Exception)
    }
    wanted = {*meshcache_pg.__all__, *meshhook.__all__, *classes} - {"__version__"}
    methods = {
        name
        for one in (
            meshcache_pg.MeshCache,
            meshcache_pg.BoundView,
            meshcache_pg.NearView,
            meshcache_pg.Result,
        )
        for name, value in vars(one).items()
        if callable(value) and not name.startswith("_")
    }
    internal = {"after_fork", "after_read", "forget", "target"}
    assert (wanted | methods) - internal - found == set()


def test_the_reference_has_every_object_in_the_database(db: Database) -> None:
    migrate_database(db)
    with psycopg.connect(db.dsn) as connection:
        names = connection.execute(
            """
            select n.nspname || '.' || o.name
            from (
                select c.relname, c.relnamespace from pg_class as c where c.relkind in ('r', 'v')
                union all
                select p.proname, p.pronamespace from pg_proc as p where p.proname not like '\\_%'
            ) as o (name, namespace)
            inner join pg_namespace as n on n.oid = o.namespace
            where n.nspname in ('meshcache', 'meshcache_data')
            """
        ).fetchall()
    found = words("sql-objects.md")
    assert {name for (name,) in names} - found == set()
    assert set(SQLSTATES) - found == set()
