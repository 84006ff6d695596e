"""What every verb promises, read off the command itself: help, examples, options, quick answers."""

import subprocess
import sys
from typing import Any

import pytest
from typer.core import TyperGroup

from meshcache_pg import __version__
from meshcache_pg.cli.app import GLOBAL, build
from tests.fixtures.fix_cli import RunCli

VERBS = [
    *("migrate", "plan", "apply", "create", "drop", "uninstall", "list", "show", "get", "stats", "verify"),
    *("explain", "refresh", "invalidate", "sweep", "demo", "suspend", "resume"),
    *("sql migrate", "sql apply", "sql refresh", "sql sweep", "sql invalidate", "sql uninstall"),
]
CHANGING = (
    "migrate",
    "apply",
    "create",
    "drop",
    "uninstall",
    "refresh",
    "invalidate",
    "sweep",
    "suspend",
    "resume",
)


def command(path: str) -> Any:
    found: Any = build()
    for name in path.split():
        assert isinstance(found, TyperGroup)
        found = found.commands[name]
    return found


@pytest.mark.parametrize("verb", VERBS)
def test_verb_has_a_sentence_an_example_and_a_help_for_every_option(verb: str) -> None:
    found = command(verb)
    assert found.help.endswith(".")
    assert found.epilog.startswith("Example: meshcache ")
    assert verb in found.epilog
    assert [param.name for param in found.params if not param.help] == []


@pytest.mark.parametrize("verb", VERBS)
def test_verb_takes_the_global_options_too(verb: str) -> None:
    assert {param.name for param in command(verb).params} >= set(GLOBAL)


@pytest.mark.parametrize("verb", CHANGING)
def test_verb_that_changes_something_can_be_tried_dry(verb: str) -> None:
    (option,) = [param for param in command(verb).params if param.name == "dry_run"]
    assert option.opts == ["--dry-run", "-n"]


def test_help_and_version_answer_without_loading_sqlalchemy() -> None:
    program = """
import sys
from meshcache_pg.cli import main
codes = [main(["--help"]), main(["refresh", "--help"]), main(["--version"])]
heavy = {"sqlalchemy", "alembic", "psycopg", "pydantic_settings"} & set(sys.modules)
sys.exit(str(heavy) if heavy else max(codes))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(f"meshcache {__version__}\n")


def test_help_fits_eighty_columns(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for verb in VERBS:
        answer = run_cli(*verb.split(), "--help")
        assert answer.code == 0
        assert max(map(len, answer.out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("argv", "what"),
    [
        (["refesh"], "No such command 'refesh'"),
        (["refresh", "--nope"], "No such option: --nope"),
        (["refresh"], "refresh does not know what"),
        (["refresh", "card", "--due"], "refresh does not know what"),
        (["invalidate", "card"], "invalidate does not know what"),
        (["invalidate", "card", "1", "--all"], "invalidate does not know what"),
        (["explain"], "explain does not know what"),
        (["explain", "card", "--meshhook"], "explain does not know what"),
        (["plan"], "nothing to read definitions from"),
        (["plan", "no/such/folder"], "does not exist"),
        (["create", "card", "--key", "id"], "create needs one SELECT"),
        (
            ["create", "card", "--key", "id", "--query", "select 1 as id", "--ttl", "1h\n-- name: b"],
            "line break",
        ),
        (["verify", "--sample", "2"], "--sample"),
        (["--timeout", "0", "list"], "--timeout"),
        (["drop"], "Missing argument"),
    ],
)
def test_wrong_usage_is_two_lines_and_exit_code_2(run_cli: RunCli, argv: list[str], what: str) -> None:
    answer = run_cli(*argv)
    error, hint = answer.err.splitlines()
    assert (answer.code, answer.out) == (2, "")
    assert error.startswith("error: ")
    assert what in error
    assert hint.startswith("hint: ")


def test_without_a_verb_there_is_help(run_cli: RunCli) -> None:
    answer = run_cli()
    assert answer.code == 2
    assert "Usage: meshcache" in answer.out
    assert answer.err == ""
