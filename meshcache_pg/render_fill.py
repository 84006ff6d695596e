"""What writes the rows of one cached view, as SQL text: fill, refresh and resolve. The other half of
render.py.
"""

from collections.abc import Collection, Sequence

from psycopg import sql

from meshcache_pg.conditions import (
    Column,
    Conditions,
    ResolvedDependency,
    columns_of,
    ident,
    joined,
    pairs,
)
from meshcache_pg.definition import Definition
from meshcache_pg.placing import Relations
from meshcache_pg.sql import compose, trusted

# A fill by key takes one advisory lock per key out of a table that all sessions share, with room for
# max_locks_per_transaction * max_connections (64 * 100 by default): 100 are under 2 % of it.
FILL_KEY_LIMIT = 100


class FillRenderer:
    """Names and writers of one cached view. `view_id` and `generation` are its catalog's, `server` is the
    server_version_num, `hidden` are those of the columns that only the cache itself reads, `rests` as for
    `Conditions`.
    """

    def __init__(
        self,
        view_id: int,
        definition: Definition,
        columns: Sequence[Column],
        dependencies: Sequence[ResolvedDependency],
        server: int,
        *,
        generation: int,
        hidden: Sequence[str] = (),
        rests: Collection[str] = (),
    ) -> None:
        self.definition = definition
        # What the cache table and the source view have, and of that what readers see.
        self.stored = [c.name for c in columns]
        self.names = [name for name in self.stored if name not in hidden]
        self.types = {c.name: c.type for c in columns}
        self.columns = {c.name: c for c in columns}
        self.key = [self.columns[k] for k in definition.key]
        self.dependencies = list(dependencies)
        self.when = Conditions(view_id, definition, dependencies, server, rests=rests)
        self.when_made = Conditions(view_id, definition, dependencies, server, rests=rests, made=True)
        self.server = server
        self.complete = definition.coverage == "complete"
        self.view_id = sql.Literal(view_id)
        self.is_current = compose(
            "fill", "is_current", view_id=self.view_id, generation=sql.Literal(generation)
        )
        # Where readers look for the relations, which is what functions are about, and what these are made as.
        self.at = Relations(definition.name)
        self.made = Relations(definition.name, made=True)
        self.miss = ident(f"{definition.name}_miss")

    def _keys(self) -> sql.Composed:
        return sql.SQL(", ").join(ident(k) for k in self.definition.key)

    def _same(self, left: str, right: str) -> sql.Composed:
        return pairs(lambda n: sql.Identifier(left, n), lambda n: sql.Identifier(right, n), self.key)

    def _parameter(self, key: str) -> sql.Composable:
        """`p_<key>`, or no name at all where an output column has it or it would be too long."""
        name = f"p_{key}"
        return ident(name) if name not in self.names and len(name.encode()) <= 63 else sql.SQL("")

    def _key_parameters(self, suffix: str = "") -> sql.Composed:
        return sql.SQL(", ").join(
            sql.SQL("{} {}").format(self._parameter(k), raw_type(self.types[k] + suffix))
            for k in self.definition.key
        )

    def _key_is_parameter(self, alias: str) -> sql.Composed:
        numbers = {k: n for n, k in enumerate(self.definition.key, 1)}
        return pairs(
            lambda n: sql.Identifier(alias, n),
            lambda n: sql.SQL("$") + sql.Literal(numbers[n]),
            self.key,
        )

    def _may_fill(self) -> sql.Composed:
        return joined([compose("fill", "may_fill"), self.is_current, *self.when.unchanged()])

    def _of_key(self) -> sql.Composed:
        return compose("fill", "of_key", source=self.at.source, s_is_k=self._same("s", "k"))

    def _on_conflict(self) -> sql.Composed:
        # The key too: an equal one may look different (1.0 and 1.00). An index that does not change costs
        # nothing.
        return compose(
            "fill",
            "on_conflict",
            keys=self._keys(),
            assignments=sql.SQL(", ").join(
                sql.SQL("{} = {}").format(ident(n), sql.Identifier("excluded", n)) for n in self.stored
            ),
        )

    def _writing(self) -> dict[str, sql.Composable]:
        """What every statement that stores rows shares."""
        ttl = self.definition.ttl
        expires: sql.Composable = sql.SQL("null::timestamptz")
        if ttl:
            expires = sql.SQL("statement_timestamp() + {}::interval").format(
                sql.Literal(f"{ttl.total_seconds():.3f} seconds")
            )
        return {
            "name": self.at.name,
            "source": self.at.source,
            "view_id": self.view_id,
            "columns": sql.SQL(", ").join(ident(n) for n in self.stored),
            "s_columns": columns_of("s", self.stored),
            "expires_at": expires,
            "on_conflict": self._on_conflict(),
            "may_fill": self._may_fill(),
        }

    def _fill(self) -> sql.Composed:
        key = self.definition.key
        arrays = [f"a{n}" for n in range(1, len(key) + 1)]
        return compose(
            "fill",
            "fill",
            function=ident(f"{self.definition.name}_fill"),
            array_parameters=self._key_parameters("[]"),
            array_aggregates=sql.SQL(", ").join(
                sql.SQL("array_agg({}) as {}").format(sql.Identifier("k", k), ident(a))
                for k, a in zip(key, arrays, strict=True)
            ),
            array_names=sql.SQL(", ").join(sql.SQL("$") + sql.Literal(n) for n in range(1, len(key) + 1)),
            u_keys=columns_of("u", key),
            u_known=joined([sql.SQL("{} is not null").format(sql.Identifier("u", k)) for k in key]),
            k_keys=columns_of("k", key),
            keys=self._keys(),
            key_limit=sql.Literal(FILL_KEY_LIMIT),
            v_arrays=columns_of("v_keys", arrays),
            of_key=self._of_key(),
            s_keys=columns_of("s", key),
            check_own=compose("fill", "check_own"),
            **self._writing(),
        )

    def _fill_all(self) -> sql.Composed:
        known = [sql.SQL("{} is not null").format(sql.Identifier("s", k)) for k in self.definition.key]
        writing = {**self._writing(), "table": self.when.table, "s_known": joined(known)}
        nothing = {**writing, "on_conflict": sql.SQL("")}
        kind = "complete" if self.complete else "on_demand"
        return compose(
            "fill",
            f"fill_all_{kind}",
            function=ident(f"_{self.definition.name}_fill_all"),
            view_id=self.view_id,
            may_fill=self._may_fill(),
            fill_table=compose(
                "fill",
                "fill_table",
                table=self.when.table,
                into_nothing=compose("fill", f"all_{kind}", **nothing),
                over_rows=compose("fill", f"all_{kind}", **writing),
            ),
            remove_others=compose("fill", "remove_others", name=self.at.name),
            check_own=compose("fill", "check_own"),
        )

    def _refresh(self) -> sql.Composed:
        return compose(
            "fill",
            "refresh",
            function=ident(f"_{self.definition.name}_refresh"),
            fill_all=ident(f"_{self.definition.name}_fill_all"),
            view_id=self.view_id,
        )

    def _resolve(self) -> sql.Composed:
        key = self.definition.key
        own: dict[str, sql.Composable] = {
            "function": ident(f"_{self.definition.name}_resolve"),
            "is_current": self.is_current,
            "outdated": self.at.outdated,
            "o_keys": columns_of("o", key),
            **self._writing(),
        }
        if not self.complete:
            return compose("fill", "resolve_on_demand", of_key=self._of_key(), **own)
        return compose(
            "fill",
            "resolve_complete",
            fill_all=ident(f"_{self.definition.name}_fill_all"),
            usable=self.when.usable(),
            stale=self.at.stale,
            **{f"{alias}_keys": columns_of(alias, key) for alias in "cfk"},
            **own,
        )


def raw_type(type_text: str) -> sql.Composable:
    """A type as format_type() printed it, already quoted and qualified by the server."""
    return sql.SQL(trusted(type_text))
