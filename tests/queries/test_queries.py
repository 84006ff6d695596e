"""Some ninety SELECTs over three schemas that everybody knows: what is accepted stays exact whatever an
application writes, what is refused says why, and docs/reference/queries.md tells the truth about both.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import LiteralString

import psycopg
import pytest
from psycopg import sql

from meshcache_pg import MeshCache
from meshcache_pg.sql import trusted
from tests.consistency.checker import NotExact
from tests.fixtures.fix_db import Database
from tests.fixtures.fix_docs import ROOT
from tests.fixtures.fix_queries import KINDS, SCHEMAS, Answer, Answers, definitions, writes
from tests.queries.life import Life

PAGE = ROOT / "docs" / "reference" / "queries.md"

# Why each of those is refused that are; the page has the words in full.
REFUSED = {
    "album_sizes": "music.Track cannot be followed",
    "archived_order": "is a partition or an inheritance child",
    "category_sales": "is a materialized view",
    "customer_by_phone": "trade.customers cannot be followed",
    "film_tip": r"random\(\)",
    "invoice_after": "a window function that is not partitioned by what leads to the key",
    "january_payment": "is a partition or an inheritance child",
    "my_customers": "current_setting",
    "not_in_playlist": "music.PlaylistTrack cannot be followed",
    "order_to_pack": "locks rows",
    "overdue_rental": r"asks for the time.*now\(\)",
    "product_sample": "a sample of a table",
    "reporting_line": "WITH RECURSIVE",
    "staff_login": "staff.password looks like a secret",
    "table_size": "the system catalog pg_class",
}

# A trigger function of the table that does not mark anything, and a view that must be found wrong for it.
PLANTED: dict[str, tuple[str, LiteralString, str]] = {
    "key": ("rental", "rental.film_category", "category_ranking"),
    "carried": ("rental", "rental.language", "film_page"),
    "linked": ("rental", "rental.film", "actor_films"),
    "flush": ("music", 'music."Employee"', "org_tree"),
}

_ASSIGNED = re.compile(r'(?:\bset|,) "?([^",=]+?)"? = ')


@pytest.fixture
def life(stocked: Callable[[str], Database], answers: Callable[[str], Answers]) -> Callable[[str], Life]:
    def begin(schema: str) -> Life:
        database = stocked(schema)
        return Life(database.connect(), database.connect(), answers(schema))

    return begin


def answer(schema: str, one: Answer) -> str:
    """What the page says of an answer."""
    if one.refusal is not None:
        why = str(one.refusal).removeprefix(f"{one.definition.name}: ").replace("|", r"\|")
        return f"refused: {why}. {one.refusal.hint}"
    tables = {
        kind: sorted(f"`{table.removeprefix(f'{schema}.')}`" for table, k in one.dependencies if k == kind)
        for kind in KINDS
    }
    return "; ".join(f"{kind}: {', '.join(named)}" for kind, named in tables.items() if named)


def rows(schema: str, found: Answers) -> Iterator[str]:
    """The lines that the page has to have for one schema."""
    for name, one in sorted(found.by_name.items()):
        asks, shape = one.definition.description.split(" Shape: ")
        file = f"../../tests/queries/{schema}/{name}.sql"
        yield f"| [{name}]({file}) | {asks.rstrip('.')} | {shape.rstrip('.')} | {answer(schema, one)} |"


def written(schema: str) -> list[str]:
    """The lines that it has."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.startswith("| [") and f"/queries/{schema}/" in line]


@pytest.mark.parametrize("schema", SCHEMAS)
def test_the_page_says_what_is_true(schema: str, answers: Callable[[str], Answers]) -> None:
    assert "\n".join(written(schema)) == "\n".join(rows(schema, answers(schema)))


def test_how_many_there_are() -> None:
    names = [one.name for schema in SCHEMAS for one in definitions(schema)]
    assert len(set(names)) == len(names)
    words = f"Of {len(names)} SELECTs {len(names) - len(REFUSED)} are accepted"
    assert words in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("schema", SCHEMAS)
def test_what_is_refused_says_why_and_what_to_do(schema: str, answers: Callable[[str], Answers]) -> None:
    refused = {name: one.refusal for name, one in answers(schema).by_name.items() if one.refusal}
    assert set(refused) == set(REFUSED) & set(answers(schema).by_name)
    for name, error in refused.items():
        assert re.search(REFUSED[name], str(error)), error
        assert error.hint


@pytest.mark.parametrize("schema", SCHEMAS)
def test_what_is_accepted_is_exact(schema: str, life: Callable[[str], Life]) -> None:
    lived = life(schema)
    lived.live(writes(schema))
    lived.checker.origins = Counter()
    lived.checker.assert_exact(lived.reader)
    assert {origin for origin in lived.checker.origins if " " not in origin} == {"hit", "quiet"}
    # Had one of these tables left no marks, it would have been found.
    read = {name: {table for table, _ in one.dependencies} for name, one in lived.answers.accepted.items()}
    assert {
        name: read[name] - changed for name, changed in lived.changed_by.items() if read[name] - changed
    } == {}


@pytest.mark.parametrize("schema", SCHEMAS)
def test_every_column_that_matters_is_written(schema: str, stocked: Callable[[str], Database]) -> None:
    rows = (
        stocked(schema)
        .connect()
        .execute(
            "select n.nspname || '.' || c.relname, array_agg(distinct m.name)"
            " from meshcache.dependency as d join meshcache.source_table as s on s.id = d.source_id"
            " join pg_class as c on c.oid = s.relation join pg_namespace as n on n.oid = c.relnamespace"
            " cross join unnest(d.matter_columns) as m (name) group by 1"
        )
    )
    updated: dict[str, set[str]] = {}
    for statement in writes(schema):
        if statement.startswith("update"):
            table = statement.split()[1].replace('"', "")
            updated.setdefault(table, set()).update(_ASSIGNED.findall(statement))
    assert {
        t: set(columns) - updated.get(t, set()) for t, columns in rows if set(columns) - updated.get(t, set())
    } == {}


@pytest.mark.parametrize("kind", KINDS)
def test_marks_that_are_left_out_are_found(kind: str, life: Callable[[str], Life]) -> None:
    schema, table, view = PLANTED[kind]
    lived = life(schema)
    assert (table.replace('"', ""), kind) in lived.answers.by_name[view].dependencies
    empty_trigger_functions(lived.reader, table)
    with pytest.raises(NotExact, match=f"{view} is not what its source is"):
        lived.live(writes(schema), view)


def empty_trigger_functions(connection: psycopg.Connection, table: LiteralString) -> None:
    """Let writes to a table leave no mark."""
    found = connection.execute(
        "select p.proname from pg_trigger as t join pg_proc as p on p.oid = t.tgfoid"
        " where t.tgrelid = %s::regclass and p.proname ~ '^_mark_[0-9]+_(insert|update|delete|truncate)$'",
        (table,),
    ).fetchall()
    assert len(found) == 4
    for (name,) in found:
        connection.execute(
            sql.SQL(
                "create or replace function {}() returns trigger language plpgsql as 'begin return null; end'"
            ).format(sql.Identifier("meshcache", name))
        )


@pytest.mark.slow
@pytest.mark.parametrize("schema", SCHEMAS)
def test_the_live_check_can_ask_for_keys_of_every_kind(
    schema: str, stocked: Callable[[str], Database]
) -> None:
    database = stocked(schema)
    connection = database.connect()
    half = len(writes(schema)) // 2
    for statement in writes(schema)[:half]:
        connection.execute(sql.SQL(trusted(statement)))
    connection.execute("call meshcache.sweep()")
    with MeshCache(database.dsn) as cache:
        for name in [one.name for one in cache.installed().values() if one.kind != "rollup"]:
            cache.refresh(name, "all")
        for statement in writes(schema)[half:]:
            connection.execute(sql.SQL(trusted(statement)))
        for name in [one.name for one in cache.installed().values() if one.kind != "rollup"]:
            report = cache.verify_live([name], reads=60, rate=1e6)
            assert (report.differences, report.skipped, report.left_out) == ([], 0, {}), name
            assert report.total("compared") > 0, name
