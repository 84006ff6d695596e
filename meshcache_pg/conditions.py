"""When a cached row may be served: the conditions that live views, `_get`, fills and the sweep share, so that
they can never disagree. The SQL is in sql/templates/fresh.sql.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from psycopg import sql

from meshcache_pg.definition import Definition
from meshcache_pg.placing import DATA, condition_functions, new
from meshcache_pg.sql import Identifier, compose, trusted

# A linked dependency goes from the marks to the key while there are at most so many, and from the key to
# the marks when there are more.
FEW_MARKS = 64


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its type as SQL text, e.g. `numeric(10,2)`, the qualified equality operator of that type,
    its qualified collation where that is not the type's own, and whether it is declared not null.
    """

    name: str
    type: str
    operator: tuple[str, str] = ("pg_catalog", "=")
    collation: str | None = None
    not_null: bool = False


@dataclass(frozen=True, slots=True)
class ResolvedLink:
    """A link whose table is known: qualified name and columns."""

    table: Identifier
    from_column: str
    to_column: str


@dataclass(frozen=True, slots=True)
class ResolvedDependency:
    """A dependency with its catalog ids; `mark_id` is None for a flush, `matter` None for all columns."""

    source_id: int
    relation: Identifier
    kind: str
    mark_id: int | None
    columns: tuple[str, ...]
    view_columns: tuple[str, ...]
    links: tuple[ResolvedLink, ...]
    matter: tuple[str, ...] | None
    has_children: bool


@dataclass(frozen=True, slots=True)
class Marked:
    """A dependency with its mark table `m`, the joins along its links, and what of them must equal the
    view's columns, in their order.
    """

    dependency: ResolvedDependency
    table: sql.Identifier
    joins: sql.Composable
    values: Sequence[sql.Composable]


def ident(name: str) -> sql.Identifier:
    """One unqualified name, quoted."""
    return sql.Identifier(name)


def columns_of(alias: str, names: Sequence[str]) -> sql.Composed:
    """`alias.a, alias.b`."""
    return sql.SQL(", ").join(sql.Identifier(alias, n) for n in names)


def pairs(
    left: Callable[[str], sql.Composable], right: Callable[[str], sql.Composable], columns: Sequence[Column]
) -> sql.Composed:
    """`left(a) = right(a) and left(b) = right(b)`, the operators named in full: functions run with a
    search_path in which an extension's type has no operator of its own, and would fall back to that of
    another type.
    """
    return sql.SQL(" and ").join(
        sql.SQL("{} operator({}.{}) {}").format(
            left(c.name), sql.Identifier(c.operator[0]), sql.SQL(trusted(c.operator[1])), right(c.name)
        )
        for c in columns
    )


def joined(conditions: Sequence[sql.Composable], word: str = " and ") -> sql.Composed:
    """Conditions in a row, `word` between them."""
    return sql.SQL(word).join(conditions)


def _ints(values: Sequence[int]) -> sql.Composable:
    return sql.SQL("array[{}]::integer[]").format(sql.SQL(", ").join(sql.Literal(v) for v in values))


class Conditions:
    """The conditions of one cached view. `view_id` is its catalog id, `server` the server_version_num,
    `rests` what else than the rows of tables its answer follows from: functions, relations, labels. With
    `made` they are those of the views, which are made before the names that they have later (placing.py).
    """

    def __init__(
        self,
        view_id: int,
        definition: Definition,
        dependencies: Sequence[ResolvedDependency],
        server: int,
        *,
        rests: Collection[str] = (),
        made: bool = False,
    ) -> None:
        self._definition = definition
        self._dependencies = list(dependencies)
        self._server = server
        self._rests = sorted(rests)
        self._complete = definition.coverage == "complete"
        self._view_id = sql.Literal(view_id)
        self._sources = _ints([*dict.fromkeys(d.source_id for d in dependencies), -view_id])
        named = new if made else str
        self._name = ident(named(definition.name))
        self._usable_function, self._quiet_function = map(
            ident, map(named, condition_functions(definition.name))
        )
        # To be cast to regclass: which table, rather than which name.
        self.table = sql.Literal(sql.Identifier(DATA, named(definition.name)).as_string())

    def _link_joins(self, dependency: ResolvedDependency) -> list[sql.Composable]:
        """One join per link, from the mark `m` to the last of `l1`, `l2` …"""
        joins: list[sql.Composable] = []
        previous = sql.Identifier("m", dependency.columns[0])
        for number, link in enumerate(dependency.links, 1):
            alias = f"l{number}"
            joins.append(
                compose(
                    "fresh",
                    "link",
                    link=link.table.sql,
                    alias=ident(alias),
                    from_column=ident(link.from_column),
                    previous=previous,
                )
            )
            previous = sql.Identifier(alias, link.to_column)
        return joins

    def _mark_values(self, dependency: ResolvedDependency) -> tuple[sql.Composable, list[sql.Composable]]:
        """The joins along the links, and what must equal the view's columns."""
        if dependency.links:
            last = sql.Identifier(f"l{len(dependency.links)}", dependency.links[-1].to_column)
            return joined(self._link_joins(dependency), " "), [last]
        return sql.Composed([]), [sql.Identifier("m", c) for c in dependency.columns]

    def _marked(self) -> list[tuple[ResolvedDependency, sql.Identifier]]:
        return [(d, ident(f"mark_{d.mark_id}")) for d in self._dependencies if d.mark_id is not None]

    def marked(self) -> list[Marked]:
        """The dependencies that leave marks of their own."""
        return [Marked(d, table, *self._mark_values(d)) for d, table in self._marked()]

    @property
    def sources(self) -> sql.Composable:
        """What a wildcard may name: the source tables, and the view itself as a negative number."""
        return self._sources

    def _no_mark(
        self, dependency: ResolvedDependency, mark_table: sql.Identifier, few_rows: bool
    ) -> sql.Composed:
        joins, values = self._mark_values(dependency)
        match = joined(
            [
                sql.SQL("{} = {}").format(value, sql.Identifier("c", column))
                for value, column in zip(values, dependency.view_columns, strict=True)
            ]
        )
        common = {"mark_table": mark_table, "match": match}
        if not few_rows:
            return compose("fresh", "no_mark", joins=joins, **common)
        if not dependency.links:
            return compose("fresh", "probe", **common)
        _, *others = self._link_joins(dependency)
        return compose(
            "fresh",
            "probe_linked",
            few=sql.Literal(FEW_MARKS),
            joins=joins,
            first_link=dependency.links[0].table.sql,
            first_alias=ident("l1"),
            other_joins=joined(others, " "),
            from_column=ident(dependency.links[0].from_column),
            column=ident(dependency.columns[0]),
            **common,
        )

    def _tests(self, few_rows: bool) -> list[sql.Composable]:
        marks = [self._no_mark(dependency, mark_table, few_rows) for dependency, mark_table in self._marked()]
        return [*marks, *self._other_tests()]

    def _other_tests(self) -> list[sql.Composable]:
        """Those of a row alone, without the marks."""
        tests: list[sql.Composable] = []
        if not self._complete:
            tests.append(compose("fresh", "no_wildcard", sources=self._sources))
        if self._definition.ttl:
            tests.append(compose("fresh", "not_expired"))
        return tests

    def unchanged(self) -> list[sql.Composable]:
        """That what no trigger tells of is as it was: partitions, and what else the answer rests on."""
        found = self._same_children()
        if self._rests:
            versions = [compose("fresh", f"versions_of_{kind}") for kind in self._rests]
            found.append(
                compose(
                    "fresh",
                    "same_definitions",
                    versions=joined(versions, "\nunion all\n"),
                    view_id=self._view_id,
                )
            )
        return found

    def _same_children(self) -> list[sql.Composable]:
        """That the partitions are those of the install, and that no other source has got any."""
        trees = {d.source_id for d in self._dependencies if d.has_children}
        plain = {d.source_id for d in self._dependencies} - trees
        detaching = compose("fresh", "not_detaching") if self._server >= 140000 else sql.SQL("")
        found: list[sql.Composable] = [
            compose("fresh", "same_children", source_id=sql.Literal(source_id), not_detaching=detaching)
            for source_id in sorted(trees)
        ]
        if plain:
            found.append(compose("fresh", "no_relatives", plain=_ints(sorted(plain))))
        return found

    def usable_now(self) -> sql.Composed:
        """True where the view as a whole may be read: open, populated, not in a write; null or false else."""
        session = joined([compose("fresh", "session"), *self.unchanged()])
        if self._complete:
            return compose(
                "fresh",
                "usable_complete",
                view_id=self._view_id,
                table=self.table,
                sources=self._sources,
                session=session,
            )
        return compose("fresh", "usable_on_demand", session=session)

    def quiet_now(self) -> sql.Composed:
        """The same, and nothing is pending: for a complete view."""
        return sql.SQL("{} and not ({})").format(self.usable_now(), self._pending())

    def usable(self) -> sql.Composed:
        """What `usable_now` says, by the view's function for it; a scalar subquery, so that it is called
        once.
        """
        return compose("fresh", "usable", function=self._usable_function)

    def is_quiet(self) -> sql.Composed:
        """What `quiet_now` says, in the same way."""
        return compose("fresh", "usable", function=self._quiet_function)

    def fresh(self, *, few_rows: bool, usable: sql.Composed | None = None) -> sql.Composed:
        """Whether the cached row `c` may be served; null or false where not. `usable` instead of the function
        for it.

        For few rows each row probes the marks, whatever the planner thinks of them; for many it may join
        them.
        """
        return self._fresh(usable or self.usable(), self._tests(few_rows))

    def _fresh(self, usable: sql.Composed, tests: list[sql.Composable]) -> sql.Composed:
        part = "fresh_complete" if self._complete else "fresh_on_demand"
        return compose("fresh", part, usable=usable, tests=joined(tests or [sql.SQL("true")]))

    def unmarked(self) -> sql.Composed | None:
        """What of `fresh` is no matter of marks; None where a row has no such test."""
        tests = self._other_tests()
        return self._fresh(self.usable(), tests) if tests or not self._complete else None

    def not_filled(self) -> sql.Composable:
        """Of the marks `m` of a complete view those that its last whole fill did not contain; the views of
        the other kind have no such moment.
        """
        return compose("fresh", "not_filled", view_id=self._view_id) if self._complete else sql.SQL("")

    def _pending(self) -> sql.Composed:
        """Whether anything was written that the last whole fill of a complete view did not contain."""
        found: list[sql.Composable] = [
            compose("fresh", "pending", mark_table=mark_table, not_filled=self.not_filled())
            for _, mark_table in self._marked()
        ]
        if self._definition.ttl:
            found.append(compose("fresh", "pending_expired", name=self._name))
        return joined(found or [sql.SQL("false")], " or ")

    def marked_values(self) -> list[list[tuple[str, sql.Composed]]]:
        """What a complete view has to ask the source for, one entry per dependency and for expiry: columns
        and the arrays that pending marks have for them.
        """
        found: list[list[tuple[str, sql.Composed]]] = []
        for dependency, mark_table in self._marked():
            joins, values = self._mark_values(dependency)
            common = {"mark_table": mark_table, "not_filled": self.not_filled(), "joins": joins}
            found.append(
                [
                    (column, compose("fresh", "marked_values", value=value, **common))
                    for value, column in zip(values, dependency.view_columns, strict=True)
                ]
            )
        if self._definition.ttl:
            found.append(
                [
                    (key, compose("fresh", "expired", key=ident(key), name=self._name))
                    for key in self._definition.key
                ]
            )
        return found
