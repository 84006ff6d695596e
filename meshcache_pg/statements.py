"""The SQL text of reads, composed once per view and kept: composing costs more than a hit does."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Final

from psycopg import sql

from meshcache_pg.definition import json_text_columns
from meshcache_pg.errors import DefinitionError
from meshcache_pg.sql import Identifier, text, trusted

# Shapes of statements that one process keeps; an application has a few per view.
_KEPT: Final = 1024

# What every read returns behind the view's own columns: the age of a cached row, in seconds; and unless all
# rows are hits, where it came from, and whether the transaction has written. Then, where it is asked for, the
# version of the cached row.
_AGE: Final = sql.SQL(
    "pg_catalog.date_part('epoch', pg_catalog.statement_timestamp() - g._filled_at) as _age"
)
_EXTRA: Final = _AGE + sql.SQL(
    ", g._origin, pg_catalog.pg_current_xact_id_if_assigned() is not null as _wrote"
)


@dataclass(frozen=True, slots=True)
class Target:
    """What a reader has to know of one cached view or rollup. Without `column_types` only the fallback can
    be used; `has_hits`: rows of its cache table can be served, each on its own; `json_text`: jsonb columns of
    which it has the text.
    """

    name: str
    kind: str
    key: tuple[str, ...]
    coverage: str | None
    columns: tuple[str, ...]
    column_types: tuple[str, ...]
    source_sql: str
    tenant: str | None = None
    json_text: tuple[str, ...] = ()
    has_hits: bool = field(init=False, repr=False, compare=False)
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Asked for several times in each read, of all these columns.
        values = (
            *(self.name, self.kind, self.coverage, self.columns, self.column_types),
            *(self.source_sql, self.json_text),
        )
        object.__setattr__(self, "_hash", hash(values))
        object.__setattr__(self, "has_hits", self.installed and self.kind != "rollup")

    def __hash__(self) -> int:
        return self._hash

    @property
    def installed(self) -> bool:
        """Whether this came from the catalog, and not only from a definition."""
        return bool(self.column_types)

    def type_of(self, column: str) -> sql.SQL:
        """The type of an output column as the server printed it."""
        return sql.SQL(trusted(self.column_types[self.columns.index(column)]))

    def check_column(self, column: str) -> None:
        """Raise DefinitionError where the view has no such output column."""
        if self.columns and column not in self.columns:
            raise DefinitionError(
                f"{self.name} has no column {column!r}", hint=f"It has: {', '.join(self.columns)}."
            )


@dataclass(frozen=True, slots=True)
class Shape:
    """A list read without its values: columns compared, columns asked for null, order, limits."""

    equal: tuple[str, ...] = ()
    null: tuple[str, ...] = ()
    order_by: tuple[str, ...] = ()
    limit: bool = False
    offset: bool = False


def _select_list(target: Target, alias: str = "g") -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(alias, c) for c in target.columns)


def _keys(target: Target, form: str) -> sql.Composed:
    return sql.SQL(", ").join(sql.SQL(trusted(form)).format(target.type_of(k)) for k in target.key)


@lru_cache(_KEPT)
def hit(target: Target, *, json_text: bool = False) -> str:
    """The cached row of one key and its age, if it is fresh; the parameters are the key's values. With
    `json_text`, jsonb columns come as json where the cache table has them so.
    """
    texts = json_text_columns(target.json_text) if json_text else {}
    return text(
        sql.SQL("select {}, {} from {} as g where {}").format(
            sql.SQL(", ").join(sql.Identifier("g", texts.get(c, c)) for c in target.columns),
            _AGE,
            Identifier("meshcache", f"{target.name}_hit").sql,
            _is_key(target, "g"),
        )
    )


@lru_cache(_KEPT)
def by_key(target: Target) -> str:
    """One row by key, the cached one or else the source's; the parameters are the key's values, twice.

    The limit ends the statement after a hit, before the function that asks the source is called.
    """
    return _by_key(target, sql.SQL("{}"))


@lru_cache(_KEPT)
def by_key_missed(target: Target) -> str:
    """The same where the cached row is found and not taken: what a read costs that is no hit."""
    return _by_key(target, sql.SQL("({} offset 1)"))


@lru_cache(_KEPT)
def by_function(target: Target) -> str:
    """The same where nothing is prepared; the parameters are the key's values. The function keeps its plans
    as long as the session lives, and planning takes longer than all the rest.
    """
    function = Identifier("meshcache", f"{target.name}_get").sql
    return text(
        sql.SQL("select {}, {} from {}({}) as g").format(
            _select_list(target), _EXTRA, function, _keys(target, "%s::{}")
        )
    )


def _is_key(target: Target, alias: str) -> sql.Composed:
    return sql.SQL(" and ").join(
        sql.SQL("{} = %s::{}").format(sql.Identifier(alias, k), target.type_of(k)) for k in target.key
    )


@lru_cache(_KEPT)
def by_key_versioned(target: Target) -> str:
    """`by_key` with the version of a hit at the end, null of any other row."""
    return _by_key(target, sql.SQL("{}"), versioned=True)


def _by_key(target: Target, hit: sql.SQL, *, versioned: bool = False) -> str:
    columns = _select_list(target, "h")
    outer, of_hit, of_miss = (", g._version", ", h._version", ", null::text") if versioned else ("", "", "")
    return text(
        sql.SQL(
            "select {}, {}{} from ({} "
            "union all select {}, h._origin, h._filled_at{} from {}({}) as h) as g limit 1"
        ).format(
            _select_list(target),
            _EXTRA,
            sql.SQL(outer),
            hit.format(
                sql.SQL("select {}, 'hit'::text as _origin, h._filled_at{} from {} as h where {}").format(
                    columns,
                    sql.SQL(of_hit),
                    _hits(target) if versioned else Identifier("meshcache", f"{target.name}_hit").sql,
                    _is_key(target, "h"),
                )
            ),
            columns,
            sql.SQL(of_miss),
            Identifier("meshcache", f"{target.name}_miss").sql,
            _keys(target, "%s::{}"),
        )
    )


def _hits(target: Target) -> sql.Identifier:
    return Identifier("meshcache", f"{target.name}_hits").sql


@lru_cache(_KEPT)
def by_keys(target: Target) -> str:
    """Rows of many keys, each with its key's position from 1 at the end; the parameters are one array per key
    column.
    """
    return _by_keys(target, sql.SQL(""), sql.SQL(""))


@lru_cache(_KEPT)
def by_keys_versioned(target: Target) -> str:
    """`by_keys` with the version of each hit before the position, null of any other row."""
    version = sql.SQL(
        " left join lateral (select h._version from {} as h where {} offset 0) as v on {}"
    ).format(_hits(target), _is_key_of_array(target), sql.SQL("g._origin = 'hit'"))
    return _by_keys(target, sql.SQL(", v._version"), version)


def _by_keys(target: Target, extra: sql.Composable, joins: sql.Composable) -> str:
    names = _array_names(target)
    return text(
        sql.SQL(
            "select {}, {}{}, k.n from unnest({}) with ordinality as k ({}, n) "
            "cross join lateral {}({}) as g{} order by k.n"
        ).format(
            _select_list(target),
            _EXTRA,
            extra,
            _keys(target, "%s::{}[]"),
            sql.SQL(", ").join(names),
            Identifier("meshcache", f"{target.name}_get").sql,
            sql.SQL(", ").join(sql.SQL("k.{}").format(n) for n in names),
            joins,
        )
    )


@lru_cache(_KEPT)
def still_hits(target: Target) -> str:
    """Positions, from 1, of those keys whose row is a hit and has the version that is given with the key; the
    parameters are one array per key column and one of versions.

    OFFSET keeps it a probe for each key, whatever the planner thinks of many.
    """
    return text(
        sql.SQL(
            "select k.n from unnest({}, %s::text[]) with ordinality as k ({}, version, n) "
            "where exists (select from {} as h where {} and h._version = k.version offset 0)"
        ).format(
            _keys(target, "%s::{}[]"),
            sql.SQL(", ").join(_array_names(target)),
            _hits(target),
            _is_key_of_array(target),
        )
    )


def _array_names(target: Target) -> list[sql.Identifier]:
    return [sql.Identifier(f"k{n}") for n in range(len(target.key))]


def _is_key_of_array(target: Target) -> sql.Composed:
    """`h` has the key of the row `k` of the arrays."""
    return sql.SQL(" and ").join(
        sql.SQL("h.{} = k.{}").format(sql.Identifier(key), name)
        for key, name in zip(target.key, _array_names(target), strict=True)
    )


@lru_cache(_KEPT)
def quiet_listing(target: Target, shape: Shape) -> str:
    """Rows of a complete view while nothing is pending, all of them hits; none may mean that something is."""
    quiet = Identifier("meshcache", f"{target.name}_quiet").sql
    head = sql.SQL("select {}, {} from {} as g").format(_select_list(target), _AGE, quiet)
    return text(head + _tail(target, shape))


@lru_cache(_KEPT)
def listing(target: Target, shape: Shape) -> str:
    """Rows of the live view, or of a rollup, or of the source where no list is kept.

    The first rows of a complete view are taken from each of its parts on its own, so that each can stop
    after them in the order of an index: the parameters are the compared values and limit + offset three
    times, then limit and offset.
    """
    head = sql.SQL("select {}, {} from ").format(_select_list(target), _EXTRA)
    if target.coverage != "complete" or not shape.limit:
        return text(head + _list_source(target) + _tail(target, shape))
    first = replace(shape, offset=False)
    parts = sql.SQL(" union all ").join(
        sql.SQL("(select {}, {}, {} from {} as g{})").format(
            _select_list(target),
            origin,
            filled_at,
            Identifier("meshcache", f"{target.name}_{part}").sql,
            _tail(target, first),
        )
        for part, origin, filled_at in (
            ("hits", sql.SQL("'hit'::text as _origin"), sql.SQL("g._filled_at")),
            ("stale", sql.SQL("'stale'::text"), sql.SQL("null::timestamptz")),
            ("bypass", sql.SQL("'bypass'::text"), sql.SQL("null::timestamptz")),
        )
    )
    whole = Shape(order_by=shape.order_by, limit=True, offset=shape.offset)
    return text(head + sql.SQL("({}) as g").format(parts) + _tail(target, whole))


def list_values(target: Target, values: Sequence[Any], limit: int | None, offset: int) -> list[Any]:
    """The parameters of `listing` in its order."""
    tail = [number for number in (limit, offset or None) if number is not None]
    if target.coverage != "complete" or limit is None:
        return [*values, *tail]
    return [*values, limit + offset] * 3 + tail


@lru_cache(_KEPT)
def from_source(target: Target, shape: Shape) -> str:
    """The same from the definition's own SELECT, which needs nothing of the cache."""
    source = sql.SQL(trusted(target.source_sql.replace("%", "%%")))
    head = sql.SQL(
        "select g.*, null::double precision as _age, 'bypass'::text as _origin, false as _wrote "
        "from ({}\n) as g"
    ).format(source)
    return text(head + _tail(target, shape))


def _list_source(target: Target) -> sql.Composed:
    if target.coverage == "complete":
        return sql.SQL("{} as g").format(Identifier("meshcache", f"{target.name}_rows").sql)
    if target.kind == "rollup":
        return sql.SQL(
            "(select r.*, 'hit'::text as _origin, "
            "(select f.refreshed_at from meshcache.rollup_refresh as f inner join meshcache.cached_view as v "
            "on v.id = f.view_id where v.name = {}) as _filled_at from {} as r) as g"
        ).format(sql.Literal(target.name), Identifier("meshcache", target.name).sql)
    return sql.SQL(
        "(select s.*, 'bypass'::text as _origin, null::timestamptz as _filled_at from {} as s) as g"
    ).format(Identifier("meshcache", f"{target.name}_source").sql)


def _tail(target: Target, shape: Shape) -> sql.Composed:
    """WHERE, ORDER BY, LIMIT and OFFSET; parameters in that order, the compared columns as in
    `shape.equal`.
    """
    conditions: list[sql.Composable] = []
    for column in shape.equal:
        target.check_column(column)
        value = sql.SQL("%s::{}").format(target.type_of(column)) if target.installed else sql.SQL("%s")
        conditions.append(sql.SQL("{} = {}").format(sql.Identifier("g", column), value))
    for column in shape.null:
        target.check_column(column)
        conditions.append(sql.SQL("{} is null").format(sql.Identifier("g", column)))
    terms: list[sql.Composable] = []
    for term in shape.order_by:
        column = term.removeprefix("-")
        target.check_column(column)
        direction = sql.SQL("desc" if term.startswith("-") else "asc")
        terms.append(sql.SQL("{} {}").format(sql.Identifier("g", column), direction))
    tail = sql.Composed([])
    if conditions:
        tail += sql.SQL(" where ") + sql.SQL(" and ").join(conditions)
    if terms:
        tail += sql.SQL(" order by ") + sql.SQL(", ").join(terms)
    if shape.limit:
        tail += sql.SQL(" limit %s::bigint")
    if shape.offset:
        tail += sql.SQL(" offset %s::bigint")
    return tail


def key_shape(target: Target) -> Shape:
    """The list read that asks for one key."""
    return Shape(equal=target.key)


def columns_of(statement_columns: Sequence[str]) -> Sequence[str]:
    """The view's own columns among those of a statement: all but the three that every read adds."""
    return statement_columns[:-3]
