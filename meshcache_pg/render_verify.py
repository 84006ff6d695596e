"""What compares one cached view with its source, as SQL text: all of it, or a few keys of a running system.
A part of render.py.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

from psycopg import sql

from meshcache_pg.conditions import Column, Marked, ResolvedDependency, columns_of, ident, joined, pairs
from meshcache_pg.render_fill import FillRenderer, raw_type
from meshcache_pg.sql import Identifier, compose, text, trusted

_Alias = Callable[[str], sql.Composable]


class VerifyRenderer(FillRenderer):
    """The functions of `verify`."""

    def verifying(self) -> Iterator[str]:
        """Comparison of the whole, choice of keys, comparison of keys."""
        yield text(self._verify())
        yield text(self._pick())
        yield text(self._compare())

    def _verify(self) -> sql.Composed:
        first = self.definition.key[0]
        return compose(
            "verify",
            "complete" if self.complete else "on_demand",
            function=ident(f"_{self.definition.name}_verify"),
            name=self.at.name,
            source=self.at.source,
            columns=columns_of("c", self.names),
            s_columns=columns_of("s", self.names),
            c_key=sql.Identifier("c", first),
            s_key=sql.Identifier("s", first),
            key_object=self._key_object(
                lambda k: sql.SQL("coalesce({}, {})").format(sql.Identifier("c", k), sql.Identifier("s", k))
            ),
            same_key=self._same("c", "s"),
            rows=self.at.rows,
            **({} if self.complete else {"fresh_rows": self.at.fresh}),
        )

    def _key_object(self, value: _Alias) -> sql.Composed:
        return joined([sql.SQL("{}, {}").format(sql.Literal(k), value(k)) for k in self.definition.key], ", ")

    def _key_texts(self, alias: str) -> sql.Composed:
        """Each key value as text, once it has the key's own type."""
        return joined(
            [
                sql.SQL("{}::{}::text").format(sql.Identifier(alias, k), raw_type(self.types[k]))
                for k in self.definition.key
            ],
            ", ",
        )

    def _pick(self) -> sql.Composed:
        return compose(
            "verify",
            "pick",
            function=ident(f"_{self.definition.name}_pick"),
            name=self.at.name,
            cache_table=_regclass("meshcache_data", self.definition.name),
            c_keys=self._key_texts("c"),
            marked=joined([self._marked_keys(marked) for marked in self.when.marked()], "\n"),
            uncached=self._uncached_keys(),
        )

    def _names_keys(self, dependency: ResolvedDependency) -> bool:
        return set(dependency.view_columns) == set(self.definition.key)

    def _values(self, marked: Marked) -> dict[str, sql.Composable]:
        """What the values of one dependency are called, and how rows are found by them."""
        columns = marked.dependency.view_columns
        return {
            "values": joined(marked.values, ", "),
            "known": joined([sql.SQL("{} is not null").format(value) for value in marked.values]),
            "view_columns": joined([ident(c) for c in columns], ", "),
            "v_keys": self._key_texts("v") if self._names_keys(marked.dependency) else sql.SQL(""),
            "s_keys": self._key_texts("s"),
            "source": self.at.source,
            "name": self.at.name,
            "s_is_v": self._match(
                columns, lambda c: sql.Identifier("s", c), lambda c: sql.Identifier("v", c)
            ),
        }

    def _match(self, columns: Sequence[str], left: _Alias, right: _Alias) -> sql.Composed:
        """`left = right`, column by column, in the view's types."""
        return pairs(
            left, lambda n: self._cast(self.columns[n], right(n)), [self.columns[c] for c in columns]
        )

    def _cast(self, column: Column, value: sql.Composable) -> sql.Composable:
        """A value to compare with the column's: an operator of an extension has no form for two types."""
        if column.operator[0] == "pg_catalog":
            return value
        return sql.SQL("{}::{}").format(value, raw_type(column.type))

    def _marked_keys(self, marked: Marked) -> sql.Composed:
        common = self._values(marked)
        newest = compose(
            "verify",
            "newest_marks",
            mark_table=marked.table,
            joins=marked.joins,
            **{name: common[name] for name in ("values", "known", "view_columns")},
        )
        return compose(
            "verify",
            "marked_key" if self._names_keys(marked.dependency) else "marked_row",
            newest_marks=newest,
            mark_table_name=_regclass("meshcache", f"mark_{marked.dependency.mark_id}"),
            **common,
        )

    def _uncached_keys(self) -> sql.Composable:
        """From the table whose column is (part of) the key; without one nothing cheap is known."""
        own = [m for m in self.when.marked() if m.dependency.kind == "key"]
        own.sort(key=lambda m: not self._names_keys(m.dependency))
        if not own:
            return sql.SQL("")
        dependency, common = own[0].dependency, self._values(own[0])
        common["c_is_v"] = pairs(
            lambda k: sql.Identifier("c", k),
            lambda k: sql.SQL("{}::{}").format(sql.Identifier("v", k), raw_type(self.types[k])),
            self.key,
        )
        common["c_is_s"] = self._same("c", "s")
        # It is run through format(), which puts in the table or its partition.
        escaped = {name: sql.SQL(trusted(text(part).replace("%", "%%"))) for name, part in common.items()}
        part = "uncached_key" if self._names_keys(dependency) else "uncached_row"
        statement = compose("verify", part, table=sql.SQL("%1$s"), **escaped)
        return compose(
            "verify",
            "uncached",
            source_id=sql.Literal(dependency.source_id),
            statement=sql.Literal(text(statement)),
        )

    def _compare(self) -> sql.Composed:
        key = self.definition.key
        numbers = [sql.SQL("$") + sql.Literal(n) for n in range(1, len(key) + 3)]
        first = key[0]
        return compose(
            "verify",
            "compare",
            function=ident(f"_{self.definition.name}_compare"),
            name=self.at.name,
            source=self.at.source,
            hits=self.at.hits,
            get=ident(f"{self.definition.name}_get"),
            parameters=sql.SQL("text[], " * len(key) + "boolean, integer"),
            arrays=joined(numbers[: len(key)], ", "),
            limit=numbers[-1],
            typed_keys=joined(
                [
                    sql.SQL("{}::{} as {}").format(sql.Identifier("u", k), raw_type(self.types[k]), ident(k))
                    for k in key
                ],
                ", ",
            ),
            keys=self._keys(),
            k_keys=columns_of("k", key),
            key_object=self._key_object(lambda k: sql.Identifier("k", k)),
            k_texts=self._key_texts("k"),
            s_is_k=self._same("s", "k"),
            h_is_k=self._same("h", "k"),
            c_is_k=self._same("c", "k"),
            a_key=sql.Identifier("a", first),
            s_key=sql.Identifier("s", first),
            names=joined([ident(n) for n in self.names], ", "),
            **{f"{alias}_columns": columns_of(alias, self.names) for alias in "ahgs"},
            c_stored=columns_of("c", self.stored),
            s_stored=columns_of("s", self.stored),
            each_column=self._each_column(numbers[-2]),
            marks=self._marks(),
            **self._live(),
        )

    def _live(self) -> Mapping[str, sql.Composable]:
        """Of a view that keeps no lists the live view is the source itself."""
        if not self.complete:
            return {"live_join": sql.SQL(""), "live_answer": sql.SQL("")}
        return {
            "live_join": compose("verify", "live_join", rows=self.at.rows, r_is_k=self._same("r", "k")),
            "live_answer": compose("verify", "live_answer", r_columns=columns_of("r", self.names)),
        }

    def _each_column(self, with_values: sql.Composable) -> sql.Composed:
        return joined(
            [
                compose(
                    "verify",
                    "each_column",
                    text=sql.Literal(name),
                    a_column=sql.Identifier("a", name),
                    s_column=sql.Identifier("s", name),
                    with_values=with_values,
                )
                for name in self.names
            ],
            ", ",
        )

    def _marks(self) -> sql.Composed:
        parts: list[sql.Composable] = []
        for marked in self.when.marked():
            value_of = dict(zip(marked.dependency.view_columns, marked.values, strict=True))
            match = self._match(
                marked.dependency.view_columns, lambda c: sql.Identifier("c", c), value_of.__getitem__
            )
            parts.append(
                compose(
                    "verify",
                    "marks_of",
                    source_id=sql.Literal(marked.dependency.source_id),
                    columns=sql.Literal(list(marked.dependency.columns)),
                    mark_table=marked.table,
                    joins=marked.joins,
                    match=match,
                )
            )
        return joined([*parts, compose("verify", "wildcards_of", sources=self.when.sources)], "\n")


def _regclass(schema: str, name: str) -> sql.Literal:
    """A table's name as a string that is read as a name again."""
    return sql.Literal(text(Identifier(schema, name).sql))
