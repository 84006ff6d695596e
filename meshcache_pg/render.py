"""From a definition and its resolved dependencies to SQL text, so that what a cached view becomes can be
read, printed and tested without a database. The SQL itself is in sql/templates/; here it is only put
together.
"""

from collections.abc import Iterator, Sequence

from psycopg import sql

from meshcache_pg.conditions import columns_of, ident, joined
from meshcache_pg.definition import json_text_columns
from meshcache_pg.headers import IndexTerm
from meshcache_pg.render_fill import raw_type
from meshcache_pg.render_outdated import OutdatedRenderer
from meshcache_pg.sql import compose, text

DATA = "meshcache_data"
CORE = "meshcache"

# What a cached view has beside its live view and its source, in the order to drop them; those that are not
# complete have the last four alone.
VIEWS = ("rows", "bypass", "stale", "quiet", "outdated", "fresh", "hits", "hit")


class ViewRenderer(OutdatedRenderer):
    """Everything that one cached view becomes; `statements` has it in order."""

    def statements(self) -> Iterator[str]:
        """Everything after the source view, in order: cache table, live views, functions, comments."""
        yield text(compose("cache_table", "table", name=self.name, source=self.source))
        yield text(self._shape())
        for index in self.definition.all_indexes():
            yield text(compose("cache_table", "index", name=self.name, columns=index_columns(index)))
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
            name=self.name,
            keys=self._keys(),
            no_statistics=joined(silent, "\n"),
            json_text=joined(texts, "\n"),
        )

    def _usable(self, what: str, condition: sql.Composed) -> sql.Composed:
        function = ident(f"_{self.definition.name}_{what}")
        return compose("live_view", "usable", function=function, usable=condition)

    def _rows_view(self) -> sql.Composed:
        return compose(
            "live_view",
            "rows_view",
            rows=self.rows,
            fresh_rows=self.fresh,
            stale=self.stale,
            bypass=self.bypass,
            h_columns=columns_of("h", self.names),
            s_columns=columns_of("s", self.names),
        )

    def _quiet_view(self) -> sql.Composed:
        return compose(
            "live_view",
            "quiet_view",
            quiet=self.quiet,
            name=self.name,
            c_columns=columns_of("c", self.names),
            is_quiet=self.when.is_quiet(),
        )

    def _bypass_view(self) -> sql.Composed:
        return compose(
            "live_view",
            "bypass_view",
            bypass=self.bypass,
            source=self.source,
            s_columns=columns_of("s", self.names),
            usable=self.when.usable(),
        )

    def _stale_view(self) -> sql.Composed:
        arrays: list[sql.Composable] = []
        branches: list[sql.Composable] = []
        before: list[sql.Composable] = []
        for number, values in enumerate(self.when.marked_values(), 1):
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
                    source=self.source,
                    first_array=names[0],
                    matches=matches,
                    not_before=joined(before, " "),
                    hits=self.hits,
                    same_key=self._same("h", "s"),
                )
            )
            before.append(sql.SQL("and ({}) is not true").format(matches))
        nothing = compose(
            "live_view", "no_branch", s_columns=columns_of("s", self.stored), source=self.source
        )
        return compose(
            "live_view",
            "stale_view",
            stale=self.stale,
            arrays=joined(arrays, ", "),
            usable=self.when.usable(),
            branches=joined(branches or [nothing], " union all "),
        )

    def _hit_view(self) -> sql.Composed:
        texts = json_text_columns(self.definition.json_text).values()
        return compose(
            "live_view",
            "hit_view",
            view=self.hit,
            name=self.name,
            c_columns=columns_of("c", self.names),
            json_text=sql.SQL("").join(sql.SQL(", {}").format(sql.Identifier("c", n)) for n in texts),
            fresh=self.when.fresh(few_rows=True, usable=self.when.usable_now()),
        )

    def _hits_view(self) -> sql.Composed:
        return compose(
            "live_view",
            "hits_view",
            view=self.hits,
            name=self.name,
            c_columns=columns_of("c", self.names),
            fresh=self.when.fresh(few_rows=True),
        )

    def _fresh_view(self) -> sql.Composed:
        return compose(
            "live_view",
            "fresh_view",
            fresh_rows=self.fresh,
            name=self.name,
            c_columns=columns_of("c", self.names),
            fresh=self.when.fresh(few_rows=False),
        )

    def _live_view(self) -> sql.Composed:
        if self.complete:
            return compose(
                "live_view",
                "live_view_complete",
                name=self.name,
                rows=self.rows,
                r_columns=columns_of("r", self.names),
            )
        return compose(
            "live_view",
            "live_view_on_demand",
            name=self.name,
            source=self.source,
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
            hit=self.hit,
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
            name=self.name,
            source=self.source,
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
                sql.SQL("comment on view {} is {}").format(sql.Identifier(CORE, view), sql.Literal(comment))
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
                yield text(sql.SQL("grant select on {} to {}").format(sql.Identifier(CORE, view), role))
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


def condition_functions(name: str) -> list[str]:
    """Names of the functions that the views of one cached view call, whoever reads them."""
    return [f"_{name}_{what}" for what in ("usable", "quiet")]
