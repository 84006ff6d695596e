"""How the rows of a cache table could be stored: typed columns or one document, jsonb or its text, compressed
in which way, with how much room for updates. What the product does follows from this group (ADR 17).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final, LiteralString

import orjson
import psycopg
from psycopg import sql
from psycopg.rows import tuple_row
from psycopg.types.json import set_json_loads

from benchmarks.bench import Bench, Result, Table, median
from benchmarks.clock import Times, compare
from benchmarks.hits import KEYS, VIEW
from benchmarks.stage import House
from meshcache_pg.meshhook import definition
from meshcache_pg.sql import trusted

SCHEMA: Final = "bench_storage"
ROWS: Final = 5_000
# What a sweep or a refresh writes anew at once.
REWRITTEN: Final = 10

_NAMES: Final = (
    "id, project_id, project_name, slug, version, name, description, status, user_id, definition, "
    "created_at, updated_at"
)
_JSONB: Final = "r.*"
# What is copied as it is stays compressed as it was.
_REMADE: Final = (
    "r.id, r.project_id, r.project_name, r.slug, r.version, r.name, r.description, r.status, r.user_id, "
    "r.definition::text::jsonb as definition, r.created_at, r.updated_at"
)
_TEXT: Final = (
    "r.id, r.project_id, r.project_name, r.slug, r.version, r.name, r.description, r.status, r.user_id, "
    "r.definition::text::json as definition, r.created_at, r.updated_at"
)


@dataclass(frozen=True, slots=True)
class Variant:
    """One way: the select list that makes its rows of `r`, what a read by key returns of them, and what is
    said of the column with the document.
    """

    title: str
    rows: LiteralString
    read: LiteralString = _NAMES
    document: str = "definition"
    compression: str = "pglz"
    storage: str = "extended"
    fillfactor: int = 80

    @property
    def table(self) -> sql.Identifier:
        """Named after the title."""
        return sql.Identifier(SCHEMA, self.title)


VARIANTS: Final = (
    Variant("typed columns, jsonb", _JSONB),
    Variant("typed columns, json text", _TEXT),
    Variant(
        "typed columns, jsonb and its text",
        "r.*, r.definition::text::json as _json_1",
        _NAMES.replace("definition", "_json_1"),
    ),
    Variant("one document, jsonb", "r.id, to_jsonb(r) as row", "row", "row"),
    Variant("one document, json text", "r.id, to_json(r) as row", "row", "row"),
    Variant("jsonb, lz4", _JSONB, compression="lz4"),
    Variant("json text, lz4", _TEXT, compression="lz4"),
    Variant("jsonb, not compressed", _REMADE, storage="external"),
    Variant("json text, not compressed", _TEXT, storage="external"),
    Variant("jsonb, fillfactor 100", _JSONB, fillfactor=100),
    Variant("jsonb, fillfactor 60", _JSONB, fillfactor=60),
)


def run(bench: Bench, house: House) -> Iterator[Result]:
    """One table; no bar hangs on it."""
    with psycopg.connect(house.stage.dsn, autocommit=True) as connection:
        set_json_loads(orjson.loads, connection)
        connection.execute(sql.SQL("create schema {}").format(sql.Identifier(SCHEMA)))
        try:
            yield _compare(bench, connection)
        finally:
            connection.execute(sql.SQL("drop schema {} cascade").format(sql.Identifier(SCHEMA)))


def _compare(bench: Bench, connection: psycopg.Connection[Any]) -> Table:
    variants = [one for one in VARIANTS if _can(bench, connection, one)]
    connection.execute(
        sql.SQL(
            "create unlogged table {} as select s.* from ({}) as s order by md5(s.id::text) limit {}"
        ).format(
            sql.Identifier(SCHEMA, "rows"),
            sql.SQL(trusted(definition(VIEW).query)),
            sql.Literal(bench.rows(ROWS)),
        )
    )
    filled = {one: [_fill(connection, one) for _ in range(bench.repetitions)] for one in variants}
    keys = connection.execute(
        sql.SQL(
            "select r.id from {} as r where octet_length(r.definition::text) between 1500 and 15000 limit {}"
        ).format(sql.Identifier(SCHEMA, "rows"), sql.Literal(bench.rows(KEYS)))
    ).fetchall()
    sizes = {one: _megabytes(connection, one) for one in variants}
    times = _reads(bench, connection, variants, keys)
    rewritten = {
        one: [_rewrite(connection, one, turn) for turn in range(bench.repetitions)] for one in variants
    }
    rows = [
        (
            one.title,
            *times[one.title].cells[:2],
            sizes[one],
            round(median(filled[one]), 3),
            round(median([seconds for seconds, _ in rewritten[one]]), 3),
            f"{median([hot for _, hot in rewritten[one]]):.0%}",
        )
        for one in variants
    ]
    return Table(
        "storage",
        "How a row could be stored: workflow_definition by key, in microseconds",
        ("stored as", "p50", "p95", "MB", "fill s", f"update 1 of {REWRITTEN}, s", "HOT"),
        rows,
        f"{bench.rows(ROWS):,} rows, prepared primary-key SELECTs in the binary format, decoded by orjson. "
        "Typed columns become the values of their types; one document is a dict whose moments and ids are "
        "texts.",
    )


def _can(bench: Bench, connection: psycopg.Connection[Any], one: Variant) -> bool:
    """Whether this server knows the compression."""
    row = connection.execute(
        "select s.enumvals from pg_settings as s where s.name = 'default_toast_compression'"
    ).fetchone()
    known = one.compression in (row[0] if row else ["pglz"])
    if not known:
        bench.left_out.append(f"{one.title}: this server was built without {one.compression}")
    return known


def _fill(connection: psycopg.Connection[Any], one: Variant) -> float:
    """Make the table anew, and fill it in one statement as a refresh does; returns the seconds of that."""
    rows = sql.SQL("select {} from {} as r").format(sql.SQL(one.rows), sql.Identifier(SCHEMA, "rows"))
    connection.execute(sql.SQL("drop table if exists {}").format(one.table))
    connection.execute(
        sql.SQL("create unlogged table {} with (fillfactor = {}) as {} with no data").format(
            one.table, sql.Literal(one.fillfactor), rows
        )
    )
    has_compression = connection.info.server_version >= 140000
    connection.execute(
        sql.SQL("alter table {0} add primary key (id), alter column {1} set storage {2}{3}").format(
            one.table,
            sql.Identifier(one.document),
            sql.SQL("external" if one.storage == "external" else "extended"),
            sql.SQL(", alter column {} set compression {}").format(
                sql.Identifier(one.document), sql.Identifier(one.compression)
            )
            if has_compression
            else sql.SQL(""),
        )
    )
    connection.execute("checkpoint")
    begin = perf_counter()
    connection.execute(sql.SQL("insert into {} {}").format(one.table, rows))
    took = perf_counter() - begin
    connection.execute(sql.SQL("vacuum (analyze) {}").format(one.table))
    return took


def _megabytes(connection: psycopg.Connection[Any], one: Variant) -> float:
    row = connection.execute(
        "select pg_total_relation_size(%s::regclass)", (one.table.as_string(connection),)
    ).fetchone()
    return round(row[0] / 1e6, 1) if row else 0.0


def _reads(
    bench: Bench,
    connection: psycopg.Connection[Any],
    variants: Sequence[Variant],
    keys: Sequence[Sequence[Any]],
) -> dict[str, Times]:
    cursor = connection.cursor(row_factory=tuple_row, binary=True)

    def way(one: Variant) -> Callable[..., Any]:
        statement = sql.SQL("select {} from {} where id = %s").format(sql.SQL(one.read), one.table).as_bytes()
        return lambda *key: cursor.execute(statement, key, prepare=True).fetchone()

    return compare(bench, {one.title: way(one) for one in variants}, keys, seconds=12)


def _rewrite(connection: psycopg.Connection[Any], one: Variant, turn: int) -> tuple[float, float]:
    """Store a part of the rows anew, as a refresh does; returns the seconds, and how much of it was HOT."""
    statement = sql.SQL(
        "insert into {0} as c select {1} from {2} as r where mod(hashtext(r.id::text), {3}) = {4} "
        "on conflict (id) do update set {5} = excluded.{5}"
    ).format(
        one.table,
        sql.SQL(one.rows),
        sql.Identifier(SCHEMA, "rows"),
        sql.Literal(REWRITTEN),
        sql.Literal(turn),
        sql.Identifier(one.document),
    )
    with connection.transaction():
        begin = perf_counter()
        connection.execute(statement)
        took = perf_counter() - begin
        row = connection.execute(
            "select x.n_tup_hot_upd::float8 / nullif(x.n_tup_upd, 0) from pg_stat_xact_user_tables as x "
            "where x.relid = %s::regclass",
            (one.table.as_string(connection),),
        ).fetchone()
    return took, (row[0] or 0.0) if row else 0.0
