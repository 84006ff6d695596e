"""Which cached rows have to go, as SQL text: what a sweep removes and a refresh recomputes. A part of
render.py.
"""

from collections.abc import Mapping

from psycopg import sql

from meshcache_pg.conditions import Column, Marked, columns_of, ident, joined
from meshcache_pg.render_verify import VerifyRenderer
from meshcache_pg.sql import compose, trusted


class OutdatedRenderer(VerifyRenderer):
    """The view of the outdated rows."""

    def outdated_view(self) -> sql.Composed:
        """One branch per dependency, so that each can use an index of its own, and one for what no mark
        tells of.
        """
        common = {"c_keys": columns_of("c", self.definition.key), "name": self.made.name}
        branches = [self._branch(marked, common) for marked in self.when_made.marked()]
        unmarked = self.when_made.unmarked()
        if unmarked:
            branches.append(compose("outdated", "unmarked", unmarked=unmarked, **common))
        if not branches:
            branches.append(compose("outdated", "unmarked", unmarked=sql.SQL("true"), **common))
        return compose(
            "outdated",
            "view",
            outdated=self.made.outdated,
            name=self.made.name,
            t_keys=columns_of("t", self.definition.key),
            branches=joined(branches, "\nunion\n"),
            fresh=self.when_made.fresh(few_rows=True),
        )

    def _branch(self, marked: Marked, common: Mapping[str, sql.Composable]) -> sql.Composed:
        columns = marked.dependency.view_columns
        value_of = dict(zip(columns, marked.values, strict=True))
        of_marks = {
            "mark_table": marked.table,
            "joins": marked.joins,
            "not_filled": self.when_made.not_filled(),
        }
        indexed = {self.definition.key[0], *(index[0].column for index in self.definition.all_indexes())}
        if indexed.isdisjoint(columns):
            return compose(
                "outdated", "by_scan", is_marked=self._is_marked(value_of, marked, of_marks), **common
            )
        values = [sql.SQL("{} as {}").format(value, ident(name)) for name, value in value_of.items()]
        texts = [
            sql.SQL('{}::text collate "C" as {}').format(value, ident(f"_text_{number}"))
            for number, value in enumerate(value_of.values(), 1)
        ]
        return compose(
            "outdated",
            "by_index",
            values=joined(values, ", "),
            texts=joined(texts, ", "),
            c_is_v=self._match(columns, lambda n: sql.Identifier("c", n), lambda n: sql.Identifier("v", n)),
            **of_marks,
            **common,
        )

    def _is_marked(
        self,
        value_of: Mapping[str, sql.Composable],
        marked: Marked,
        of_marks: Mapping[str, sql.Composable],
    ) -> sql.Composed:
        if marked.dependency.links:
            return joined(
                [self._among_marked(self.columns[n], value, of_marks) for n, value in value_of.items()]
            )
        match = self._match(list(value_of), value_of.__getitem__, lambda n: sql.Identifier("c", n))
        return compose(
            "outdated",
            "probed",
            mark_table=marked.table,
            not_filled=self.when_made.not_filled(),
            m_is_c=match,
        )

    def _among_marked(
        self, column: Column, value: sql.Composable, of_marks: Mapping[str, sql.Composable]
    ) -> sql.Composed:
        schema, operator = column.operator
        return compose(
            "outdated",
            "among_marked",
            column=sql.Identifier("c", column.name),
            operator_schema=ident(schema),
            operator=sql.SQL(trusted(operator)),
            value=self._cast(column, value),
            **of_marks,
        )
