"""Whether the cache tells the truth: every way to read it against the source, in the reader's snapshot."""

import hashlib
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import LiteralString

import psycopg
from psycopg import sql

# How many reads of each kind ("hit", "stale", …) were compared: without a hit a check has shown nothing.
Origins = Counter[str]


class NotExact(AssertionError):
    """The cache and the source gave different answers to one statement."""


@dataclass(frozen=True)
class View:
    """What the checker has to know of one cached view."""

    name: str
    key: tuple[str, ...]
    key_types: tuple[str, ...]
    columns: tuple[str, ...]
    complete: bool


@dataclass(frozen=True)
class Asked:
    """What one statement compares."""

    views: tuple[View, ...]
    with_parts: bool


@dataclass
class Checker:
    """Compares cached views of one database with their sources; counts what it saw in `origins`.

    A key that the source lacks is asked for as well: `absent` has its text by type.
    """

    views: dict[str, View]
    origins: Origins = field(default_factory=Counter)
    # How much was compared: "reads" are keys asked for and lists, "rows" what they returned.
    compared: Counter[str] = field(default_factory=Counter)
    # Making and planning a statement takes longer than running it, and some tests ask thousands of times.
    _texts: dict[Asked, bytes] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, connection: psycopg.Connection, among: Collection[str] | None = None) -> "Checker":
        """A checker for what is applied now, or for what is among these names of it."""
        rows = connection.execute(
            "select v.name, v.key_columns, v.columns, v.column_types, v.coverage = 'complete'"
            " from meshcache.cached_view as v where v.kind = 'cached_view' order by v.name"
        ).fetchall()
        # A domain has the absent key of its base type.
        bases: dict[str, str] = dict(
            connection.execute(
                "select format_type(t.oid, null), format_type(t.typbasetype, null)"
                " from pg_type as t where t.typtype = 'd'"
            ).fetchall()
        )
        views = {}
        for name, key, columns, types, complete in rows:
            if among is not None and name not in among:
                continue
            type_of = {c: bases.get(t, t) for c, t in zip(columns, types, strict=True)}
            views[name] = View(name, tuple(key), tuple(type_of[k] for k in key), tuple(columns), complete)
        return cls(views)

    def assert_exact(self, connection: psycopg.Connection, *names: str) -> None:
        """Raise NotExact unless live view, its parts and `_get` give what the source gives, in this
        transaction.
        """
        for name in names or self.views:
            self._compare(connection, Asked((self.views[name],), with_parts=True))

    def assert_answers(self, connection: psycopg.Connection, *names: str) -> None:
        """The same for what readers are given, the live view and `_get`, without the parts that a live view
        is made of, in one statement for all of these views: at a third of the price, for tests that ask a
        million times.
        """
        views = tuple(self.views[name] for name in names or self.views)
        self._compare(connection, Asked(views, with_parts=False))

    def _compare(self, connection: psycopg.Connection, asked: Asked) -> None:
        if asked not in self._texts:
            parts = [self._statement(view, with_parts=asked.with_parts) for view in asked.views]
            whole = sql.SQL(" union all ").join(sql.SQL("({})").format(part) for part in parts)
            self._texts[asked] = whole.as_bytes(connection)
        text = self._texts[asked]
        # Whose connection is not to prepare anything has a pooler before him, that may give him another
        # session at every transaction.
        if connection.prepare_threshold is None:
            text = _prepared(connection, text)
        self._judge(connection.execute(text, prepare=True).fetchall())

    def _judge(self, rows: Sequence[tuple[str, str, str, int]]) -> None:
        """Count what was compared; raise for the first view that differs."""
        wrong: list[str] = []
        kinds: Counter[str] = Counter()
        first = ""
        for name, what, problem, count in rows:
            if problem == "origin":
                self.origins[what] += count
                self.origins[f"{name} {what}"] += count
            elif problem == "compared":
                self.compared[what] += count
            elif first in ("", name):
                first = name
                wrong.append(f"{problem}: {what}")
                kinds[problem] += 1
        if wrong:
            how_many = ", ".join(f"{count} {problem}" for problem, count in sorted(kinds.items()))
            raise NotExact(f"{first} is not what its source is: {how_many}\n" + "\n".join(sorted(wrong)[:8]))

    def _statement(self, view: View, *, with_parts: bool) -> sql.Composed:
        ident, columns = sql.Identifier, sql.SQL(", ").join(map(sql.Identifier, view.columns))
        keys = sql.SQL(", ").join(map(sql.Identifier, view.key))
        absent = sql.SQL(", ").join(
            sql.SQL("{}::{}").format(_absent(t), sql.SQL(_trusted(t))) for t in view.key_types
        )
        statement = sql.SQL(_WITH + _ANSWERS)
        if with_parts and view.complete:
            statement = sql.SQL(
                _WITH
                + _WITH_PARTS
                + _WITH_PARTS_OF_COMPLETE_VIEWS
                + _ANSWERS
                + _PARTS
                + _PARTS_OF_COMPLETE_VIEWS
            )
        elif with_parts:
            statement = sql.SQL(_WITH + _WITH_PARTS + _ANSWERS + _PARTS)
        parts = {
            part: ident("meshcache", f"{view.name}_{part}")
            for part in ("hits", "fresh", "quiet", "stale", "bypass")
        }
        return sql.SQL("select {}, d.* from ({}) as d").format(
            view.name,
            statement.format(
                **parts,
                source=ident("meshcache", f"{view.name}_source"),
                live=ident("meshcache", view.name),
                get=ident("meshcache", f"{view.name}_get"),
                table=ident("meshcache_data", view.name),
                columns=columns,
                g_columns=sql.SQL(", ").join(sql.Identifier("g", c) for c in view.columns),
                keys=keys,
                s_keys=sql.SQL(", ").join(sql.Identifier("s", k) for k in view.key),
                k_keys=sql.SQL(", ").join(sql.Identifier("k", k) for k in view.key),
                absent=absent,
                same_key=sql.SQL(" and ").join(
                    sql.SQL("{} = {}").format(ident("s", k), ident("k", k)) for k in view.key
                ),
            ),
        )


def _prepared(connection: psycopg.Connection, text: bytes) -> bytes:
    """The command that executes a statement, which is prepared if this session has it not yet."""
    plan = f"check_{hashlib.sha256(text).hexdigest()[:32]}"
    there = "select from pg_prepared_statements as p where p.name = %s"
    if connection.execute(there, (plan,), prepare=False).rowcount == 0:
        connection.execute(f"prepare {plan} as ".encode() + text, prepare=False)
    return f"execute {plan}".encode()


def exact(connection: psycopg.Connection) -> Checker:
    """The cache is exact here and now; returns what was read from where."""
    checker = Checker.of(connection)
    checker.assert_exact(connection)
    return checker


# One statement, so one snapshot. Rows are compared by their text: 1.0 and 1.00, or two spellings of one
# case-insensitive word, are equal to "=" and different to a reader.
_WITH: LiteralString = """
with source as materialized (
    select {s_keys}, row({columns})::text as image from {source} as s
),
live as materialized (
    select row({columns})::text as image from {live} as v
),
asked as (
    select {keys} from source
    union
    select {keys} from {table}
    union
    select {absent}
),
got as materialized (
    select {k_keys}, g._origin as origin, row({g_columns})::text as image
    from asked as k cross join lateral {get}({k_keys}) as g
)
"""

# The pieces that a list is put together from, and the one that stands for all of them while nothing is
# pending. Each is read once, however often it is compared.
_WITH_PARTS: LiteralString = """,
hit as materialized (select row({columns})::text as image from {hits} as h),
fresh as materialized (select row({columns})::text as image from {fresh} as f)
"""
_WITH_PARTS_OF_COMPLETE_VIEWS: LiteralString = """,
parts as materialized (
    select image from hit
    union all
    select row({columns})::text from {stale} as t
    union all
    select row({columns})::text from {bypass} as b
),
quiet as materialized (select row({columns})::text as image from {quiet} as q)
"""

_ANSWERS: LiteralString = """
select d.image, 'only in the live view' as problem, 1::bigint as count
from (select image from live except all select image from source) as d
union all
select d.image, 'missing in the live view', 1
from (select image from source except all select image from live) as d
union all
select d.image, 'given by get alone', 1
from (select image from got except all select image from source) as d
union all
select d.image, 'not given by get', 1
from (select image from source except all select image from got) as d
union all
select row({k_keys}, k.image)::text, 'get of another key', 1
from got as k
where not exists (select from source as s where {same_key} and s.image = k.image)
union all
select g.origin, 'origin', count(*) from got as g group by g.origin
"""

_PARTS: LiteralString = """
union all
select 'reads', 'compared', 1 + count(*) from asked
union all
select 'rows', 'compared', (select count(*) from got) + (select count(*) from live)
union all
select d.image, 'a hit alone', 1 from (select image from hit except all select image from source) as d
union all
select d.image, 'not among the fresh', 1 from (select image from hit except all select image from fresh) as d
union all
select d.image, 'not among the hits', 1 from (select image from fresh except all select image from hit) as d
"""

_PARTS_OF_COMPLETE_VIEWS: LiteralString = """
union all
select d.image, 'in one of the parts alone', 1
from (select image from parts except all select image from source) as d
union all
select d.image, 'in none of the parts', 1
from (select image from source except all select image from parts) as d
union all
select d.image, 'quiet alone', 1 from (select image from quiet except all select image from source) as d
union all
select d.image, 'missing among the quiet', 1
from (select image from source except all select image from quiet) as d
where exists (select from quiet)
union all
select 'quiet', 'origin', count(*) from quiet having count(*) > 0
"""

_ABSENT: dict[str, LiteralString] = {
    "uuid": "00000000-0000-0000-0000-00000000dead",
    "smallint": "-77",
    "integer": "-77",
    "bigint": "-77",
    "numeric": "-77",
    "double precision": "-77",
    "app.mood": "sad",
    "date": "1901-01-01",
    "timestamp without time zone": "1901-01-01",
    "timestamp with time zone": "1901-01-01 00:00+00",
    "interval": "-77 days",
    "time with time zone": "00:00:01+00",
    "jsonb": '"no such key"',
}


def _absent(type_name: str) -> sql.Literal:
    return sql.Literal(_ABSENT.get(type_name, "no such key"))


def _trusted(type_name: str) -> LiteralString:
    # As format_type() printed it, quoted by the server; there is no way to bind a type.
    return type_name
