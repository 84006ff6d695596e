"""From a definition and its resolved dependencies to SQL text, so that what a cached view becomes can be
read, printed and tested without a database. The SQL itself is in sql/templates/; here it is only put
together.
"""

from collections.abc import Iterator, Sequence

from psycopg import sql

from meshcache_pg.conditions import columns_of, ident, joined
from meshcache_pg.definition import json_text_columns
from meshcache_pg.headers import IndexTerm
from meshcache_pg.placing import CORE, LONGEST_NAME, VIEWS, made_index, new
from meshcache_pg.render_fill import raw_type
from meshcache_pg.render_outdated import OutdatedRenderer
from meshcache_pg.sql import compose, text

# What every cached row has beside what the source says.
_NOT_NULL = ("_filled_in", "_filled_by", "_filled_at")


class ViewRenderer(OutdatedRenderer):
    """Everything that one cached view becomes; `statements` has it in order."""

    def statements(self) -> Iterator[str]:
        """Everything after the source view, in order: cache table, live views, functions, comments.

        Functions have their place at once: nobody waits where one is replaced. What has locks is made under
        names of its own (placing.py).
        """
        yield text(compose("cache_table", "table", name=self.made.name, source=self.made.source))
        yield text(self._shape())
        for number, index in enumerate(self.definition.all_indexes(), 1):
            yield text(
                compose(
                    "cache_table",
                    "index",
                    index=made_index(self.definition.name, number),
                    name=self.made.name,
                    columns=index_columns(index),
                )
            )
        yield text(self._usable("usable", self.when.usable_now()))
        if self.complete:
            yield text(self._usable("quiet", self.when.quiet_now()))
        yield text(self._hit_view())
        yield text(self._hits_view())
        yield text(self._fresh_view())
        yield text(self.outdated_view())
        if self.complete:
            yield text(self._quiet_view())
            yield text(self._stale_view())
            yield text(self._bypass_view())
            yield text(self._rows_view())
        yield text(self._live_view())
        yield text(self._miss())
        yield text(self._get())
        yield text(self._fill())
        yield text(self._fill_all())
        yield text(self._refresh())
        yield text(self._resolve())
        yield text(self._invalidate())
        yield from self.verifying()
        yield from self._comments()

    def _shape(self) -> sql.Composed:
        wanted = {term.column for index in self.definition.all_indexes() for term in index}
        payload = [n for n in self.stored if n not in self.definition.key and n not in wanted]
        silent = [compose("cache_table", "no_statistics", column=ident(n)) for n in payload]
        texts = [
            compose("cache_table", "json_text", column=ident(column), jsonb=ident(of))
            for of, column in json_text_columns(self.definition.json_text).items()
        ]
        return compose(
            "cache_table",
            "shape",
            name=self.made.name,
            key_index=made_index(self.definition.name, 0),
            keys=self._keys(),
            not_null=joined([self._not_null(n) for n in (*self.definition.key, *_NOT_NULL)], ",\n"),
            no_statistics=joined(silent, "\n"),
            json_text=joined(texts, "\n"),
        )

    def _not_null(self, column: str) -> sql.Composed:
        """From 18 on the constraint has a name, which renaming the table would leave as it is."""
        constraint = f"{self.definition.name}_{column}_not_null"
        if self.server < 180000 or len(constraint.encode()) > LONGEST_NAME:
            return compose("cache_table", "not_null", column=ident(column))
        return compose("cache_table", "named_not_null", constraint=ident(constraint), column=ident(column))

    def _usable(self, what: str, condition: sql.Composed) -> sql.Composed:
        function = ident(new(f"_{self.definition.name}_{what}"))
        return compose("live_view", "usable", function=function, usable=condition)

    def _rows_view(self) -> sql.Composed:
        return compose(
            "live_view",
            "rows_view",
            rows=self.made.rows,
            fresh_rows=self.made.fresh,
            stale=self.made.stale,
            bypass=self.made.bypass,
            h_columns=columns_of("h", self.names),
            s_columns=columns_of("s", self.names),
        )

    def _quiet_view(self) -> sql.Composed:
        return compose(
            "live_view",
            "quiet_view",
            quiet=self.made.quiet,
            name=self.made.name,
            c_columns=columns_of("c", self.names),
            is_quiet=self.when_made.is_quiet(),
        )

    def _bypass_view(self) -> sql.Composed:
        return compose(
            "live_view",
            "bypass_view",
            bypass=self.made.bypass,
            source=self.made.source,
            s_columns=columns_of("s", self.names),
            usable=self.when_made.usable(),
        )

    def _stale_view(self) -> sql.Composed:
        arrays: list[sql.Composable] = []
        branches: list[sql.Composable] = []
        before: list[sql.Composable] = []
        for number, values in enumerate(self.when_made.marked_values(), 1):
            names = [ident(f"d{number}_{n}") for n in range(1, len(values) + 1)]
            matches = joined(
                [
                    compose("fresh", "is_marked", column=ident(column), array=name)
                    for (column, _), name in zip(values, names, strict=True)
                ]
            )
            arrays += [
                sql.SQL("{} as {}").format(array, name)
                for (_, array), name in zip(values, names, strict=True)
            ]
            branches.append(
                compose(
                    "live_view",
                    "stale_branch",
                    s_columns=columns_of("s", self.stored),
                    source=self.made.source,
                    first_array=names[0],
                    matches=matches,
                    not_before=joined(before, " "),
                    hits=self.made.hits,
                    same_key=self._same("h", "s"),
                )
            )
            before.append(sql.SQL("and ({}) is not true").format(matches))
        nothing = compose(
            "live_view", "no_branch", s_columns=columns_of("s", self.stored), source=self.made.source
        )
        return compose(
            "live_view",
            "stale_view",
            stale=self.made.stale,
            arrays=joined(arrays, ", "),
            usable=self.when_made.usable(),
            branches=joined(branches or [nothing], " union all "),
        )

    def _hit_view(self) -> sql.Composed:
        texts = json_text_columns(self.definition.json_text).values()
        return compose(
            "live_view",
            "hit_view",
            view=self.made.hit,
            name=self.made.name,
            c_columns=columns_of("c", self.names),
            json_text=sql.SQL("").join(sql.SQL(", {}").format(sql.Identifier("c", n)) for n in texts),
            fresh=self.when_made.fresh(few_rows=True, usable=self.when_made.usable_now()),
        )

    def _hits_view(self) -> sql.Composed:
        return compose(
            "live_view",
            "hits_view",
            view=self.made.hits,
            name=self.made.name,
            c_columns=columns_of("c", self.names),
            fresh=self.when_made.fresh(few_rows=True),
        )

    def _fresh_view(self) -> sql.Composed:
        return compose(
            "live_view",
            "fresh_view",
            fresh_rows=self.made.fresh,
            name=self.made.name,
            c_columns=columns_of("c", self.names),
            fresh=self.when_made.fresh(few_rows=False),
        )

    def _live_view(self) -> sql.Composed:
        if self.complete:
            return compose(
                "live_view",
                "live_view_complete",
                name=self.made.name,
                rows=self.made.rows,
                r_columns=columns_of("r", self.names),
            )
        return compose(
            "live_view",
            "live_view_on_demand",
            name=self.made.name,
            source=self.made.source,
            s_columns=columns_of("s", self.names),
        )

    def _result(self) -> sql.Composed:
        return sql.SQL(", ").join(
            sql.SQL("{} {}").format(ident(n), raw_type(self.types[n])) for n in self.names
        )

    def _get(self) -> sql.Composed:
        numbers = [sql.SQL("$") + sql.Literal(n) for n in range(1, len(self.definition.key) + 1)]
        return compose(
            "live_view",
            "get",
            function=ident(f"{self.definition.name}_get"),
            parameters=self._key_parameters(),
            result=self._result(),
            h_columns=columns_of("h", self.names),
            hit=self.at.hit,
            miss=self.miss,
            hit_is_parameter=self._key_is_parameter("h"),
            arguments=sql.SQL(", ").join(numbers),
            unusable=compose("live_view", "unusable"),
        )

    def _miss(self) -> sql.Composed:
        return compose(
            "live_view",
            "miss",
            miss=self.miss,
            parameters=self._key_parameters(),
            result=self._result(),
            s_columns=columns_of("s", self.names),
            name=self.at.name,
            source=self.at.source,
            key_is_parameter=self._key_is_parameter("c"),
            source_key_is_parameter=self._key_is_parameter("s"),
            usable=self.when.usable(),
            unusable=compose("live_view", "unusable"),
        )

    def _invalidate(self) -> sql.Composed:
        """A mark of the dependency that is on (part of) the key; without one the whole view becomes stale."""
        key = list(self.definition.key)
        own = next(
            (d for d in self.dependencies if d.kind == "key" and set(d.view_columns) <= set(key)), None
        )
        if own is None:
            mark: sql.Composable = compose("invalidate", "whole_view", view_id=self.view_id)
        else:
            arguments = [sql.SQL("$") + sql.Literal(key.index(c) + 1) for c in own.view_columns]
            mark = compose(
                "invalidate",
                "key_mark",
                mark_table=ident(f"mark_{own.mark_id}"),
                columns=sql.SQL(", ").join(ident(c) for c in own.columns),
                values=sql.SQL(", ").join(arguments),
                values_known=joined([sql.SQL("{} is not null").format(a) for a in arguments]),
            )
        return compose(
            "invalidate",
            "invalidate",
            function=ident(f"{self.definition.name}_invalidate"),
            parameters=self._key_parameters(),
            mark=mark,
        )

    def _comments(self) -> Iterator[str]:
        name = self.definition.name
        note = self.definition.description or f"Cached view, key {', '.join(self.definition.key)}."
        for view, comment in (
            (name, note),
            (f"{name}_source", f"What {name} caches: its SELECT as declared."),
        ):
            yield text(
                sql.SQL("comment on view {} is {}").format(
                    sql.Identifier(CORE, new(view)), sql.Literal(comment)
                )
            )

    def grants(self) -> Iterator[str]:
        """Rights for the declared readers: the live views and the functions that read, fill and
        invalidate.
        """
        yield from common_grants(self.definition.readers)
        name = self.definition.name
        for reader in self.definition.readers:
            role = ident(reader)
            # What is outdated matters to maintenance alone.
            parts = [part for part in VIEWS if part != "outdated"] if self.complete else VIEWS[-2:]
            for view in (name, f"{name}_source", *(f"{name}_{part}" for part in parts)):
                relation = sql.Identifier(CORE, new(view))
                yield text(sql.SQL("grant select on {} to {}").format(relation, role))
            for function in public_functions(name):
                yield text(
                    sql.SQL("grant execute on function {} to {}").format(sql.Identifier(CORE, function), role)
                )


def index_columns(index: Sequence[IndexTerm]) -> sql.Composed:
    """What CREATE INDEX has between its parentheses."""
    nulls = {None: sql.SQL(""), True: sql.SQL(" nulls first"), False: sql.SQL(" nulls last")}
    return sql.SQL(", ").join(
        ident(term.column) + sql.SQL(" desc" if term.descending else "") + nulls[term.nulls_first]
        for term in index
    )


def common_grants(readers: Sequence[str]) -> Iterator[str]:
    """What any reader needs: the names in schema meshcache, how to find a view, where to count its reads."""
    for reader in readers:
        role = ident(reader)
        yield text(sql.SQL("grant usage on schema meshcache to {}").format(role))
        yield text(
            sql.SQL("grant select on meshcache.cached_view, meshcache.rollup_refresh to {}").format(role)
        )
        yield text(sql.SQL("grant execute on function meshcache.add_counts(jsonb) to {}").format(role))


def public_functions(name: str) -> list[str]:
    """Names of the functions that readers of one cached view call."""
    return [f"{name}_{verb}" for verb in ("get", "miss", "fill", "invalidate")]


def view_functions(name: str) -> list[str]:
    """Names of the functions in schema meshcache that belong to one cached view and not to everybody."""
    return public_functions(name) + [
        f"_{name}_{verb}" for verb in ("fill_all", "refresh", "resolve", "verify", "pick", "compare")
    ]
