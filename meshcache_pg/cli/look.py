"""Verbs that look: list, show, get (which fills), stats, and verify (which repairs when it is told to)."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshcache_pg.cli.live import verify_live
from meshcache_pg.cli.options import Key, Name, Names
from meshcache_pg.cli.run import Run, WrongUsage, find
from meshcache_pg.cli.values import age, cell, counted, duration, moment

if TYPE_CHECKING:
    from meshcache_pg.answers import Result
    from meshcache_pg.cache import MeshCache
    from meshcache_pg.catalog import InstalledView
    from meshcache_pg.health import Verification, ViewStats

FAILED, DRIFT = 1, 4


def list_(ctx: typer.Context) -> None:
    """List the cached views and rollups of this database."""
    run: Run = ctx.obj
    with run.cache() as cache:
        views = list(cache.installed().values())
    run.out.result({"views": [_as_data(view) for view in views]}, lambda: _show_list(run, views))


def show(ctx: typer.Context, name: Name) -> None:
    """Show one cached view: its state, columns, dependencies and definition."""
    from meshcache_pg import catalog

    run: Run = ctx.obj
    with run.cache() as cache:
        with cache.begin() as connection:
            view = catalog.find(connection, name)
            dependencies = catalog.dependencies(connection, view)
        stats = next((one for one in cache.stats() if one.name == name), None)
    data = {
        "view": _as_data(view),
        "columns": [{"name": n, "type": t} for n, t in zip(view.columns, view.column_types, strict=True)],
        "dependencies": dependencies,
        "stats": stats,
        "definition": view.definition,
        "source_sql": view.source_sql,
    }
    run.out.result(data, lambda: _show_view(run, view, dependencies, stats))


def get(ctx: typer.Context, name: Name, key: Key = None) -> int:
    """Read one row through the cache: where it came from, its age, and its columns; a miss is filled."""
    run: Run = ctx.obj
    values = key or []
    with run.cache() as cache:
        find(cache, name)
        with cache.begin() as connection:
            result: Result[dict[str, Any]] = cache.view(name, connection, dict).get(*values)
    row = result.unwrap() if result else {}
    seconds = result.age.total_seconds() if result.age is not None else None
    data = {
        "name": name,
        "key": values,
        "found": bool(result),
        "origin": result.origin,
        "age_seconds": seconds,
        "row": row if result else None,
    }

    def display() -> None:
        if row:
            run.out.table(("column", "value"), [(column, cell(value)) for column, value in row.items()])
            run.out.say(str(result.origin) + (f", {age(seconds)} old" if seconds is not None else ""))

    run.out.result(data, display)
    if not result:
        run.out.error(f"{name} has no row with the key ({', '.join(values)})")
        return FAILED
    return 0


def stats(ctx: typer.Context, names: Names = None) -> None:
    """Show size, counted reads, pending marks and age of cached views; it counts rows, so it takes time."""
    run: Run = ctx.obj
    with run.cache() as cache:
        for name in names or ():
            find(cache, name)
        found = [one for one in cache.stats() if not names or one.name in names]
    run.out.result({"views": found}, lambda: _show_stats(run, found))


def verify(
    ctx: typer.Context,
    names: Names = None,
    *,
    sample: Annotated[
        float,
        typer.Option(
            "--sample", metavar="SHARE", min=0, max=1, help="Compare a random part: 0.1 is a tenth."
        ),
    ] = 1.0,
    repair: Annotated[
        bool, typer.Option("--repair", help="Fill anew what differs, and compare again.")
    ] = False,
    live: Annotated[
        bool, typer.Option("--live", help="Compare a few keys at a time, beside the application's load.")
    ] = False,
    seconds: Annotated[
        float | None,
        typer.Option("--seconds", metavar="N", min=0, help="Live: so long; default 60 without --reads."),
    ] = None,
    reads: Annotated[
        int | None, typer.Option("--reads", metavar="N", min=1, help="Live: so many keys.")
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            "--rate", metavar="N", min=0.01, help="Live: at most so many keys a second; default 50."
        ),
    ] = None,
) -> int:
    """Compare what the cache serves with its source; exit 4 when something differs."""
    run: Run = ctx.obj
    if not live and (seconds, reads, rate) != (None, None, None):
        raise WrongUsage("--seconds, --reads and --rate are for --live", hint="Add --live.")
    if live and sample != 1:
        raise WrongUsage("--live and --sample exclude each other", hint="Say --reads or --seconds.")
    repaired = []
    with run.cache(seconds) as cache:
        chosen = _verifiable(cache, names)
        if live:
            from meshcache_pg.live_check import DEFAULT_RATE

            return verify_live(
                run, cache, chosen, seconds=seconds, reads=reads, rate=rate or DEFAULT_RATE, repair=repair
            )
        found = {}
        with run.out.progress("verifying", len(chosen)) as begin:
            for name in chosen:
                begin(name)
                found[name] = cache.verify(name, share=sample)
                if repair and not found[name].equal:
                    run.out.warn(f"{name}: {counted(found[name].different, 'difference')}; it is filled anew")
                    cache.refresh(name, "all")
                    found[name] = cache.verify(name)
                    repaired += [name] if found[name].equal else []
    different = [one for one in found.values() if not one.equal]
    data = {"equal": not different, "repaired": repaired, "views": list(found.values())}
    run.out.result(data, lambda: _show_verified(run, list(found.values()), repaired))
    return DRIFT if different else 0


def _verifiable(cache: "MeshCache", names: list[str] | None) -> list[str]:
    from meshcache_pg.health import refuse_rollup

    if not names:
        return [view.name for view in cache.installed().values() if view.kind != "rollup"]
    for name in names:
        refuse_rollup(name, find(cache, name).kind)
    return names


def _as_data(view: "InstalledView") -> dict[str, Any]:
    return {
        "name": view.name,
        "kind": view.kind,
        "coverage": view.coverage,
        "key": view.key_columns,
        "columns": view.columns,
        "tenant": view.tenant_column,
        "ttl_seconds": view.ttl,
        "refresh_every_seconds": view.refresh_every,
        "readers": view.readers,
        "allowed": view.allowed,
        "secrets": view.secrets,
        "key_proved": view.key_proved,
        "applied_at": view.applied_at,
        "whole": view.whole,
    }


def _what(view: "InstalledView") -> str:
    return "rollup" if view.kind == "rollup" else (view.coverage or "").replace("_", " ")


def _limit(view: "InstalledView") -> str:
    if view.refresh_every:
        return f"every {duration(view.refresh_every)}"
    return f"ttl {duration(view.ttl)}" if view.ttl else ""


def _show_list(run: Run, views: list["InstalledView"]) -> None:
    if not views:
        run.out.say("no cached view is installed; meshcache apply PATH installs them")
        return
    rows = [
        (view.name, _what(view), ", ".join(view.key_columns), _limit(view), "ok" if view.whole else "damaged")
        for view in views
    ]
    run.out.table(("name", "kind", "key", "limit", "state"), rows)
    for view in views:
        if view.secrets:
            run.out.say(f"{view.name} copies what looks like a secret: {', '.join(view.secrets)}")
        if view.allowed:
            run.out.say(f"{view.name} is allowed: {', '.join(view.allowed)}")
    if not all(view.whole for view in views):
        run.out.warn("objects of damaged views are missing; apply their definitions again")


def _show_view(
    run: Run, view: "InstalledView", dependencies: list[dict[str, Any]], state: "ViewStats | None"
) -> None:
    facts = [
        ("name", view.name),
        ("kind", _what(view)),
        (
            "key",
            ", ".join(view.key_columns) + ("" if view.key_proved else " (not proved)"),
        ),
        ("tenant", view.tenant_column or ""),
        ("limit", _limit(view)),
        ("readers", ", ".join(view.readers)),
        ("allowed", ", ".join(view.allowed)),
        ("secrets", ", ".join(view.secrets)),
        ("applied at", moment(view.applied_at)),
        ("state", "ok" if view.whole else "objects of it are missing; apply its definition again"),
    ]
    if state is not None:
        facts += [
            ("populated", cell(state.populated)),
            ("problem", state.problem or ""),
            ("rows", f"{state.rows:,}"),
            ("size", _size(state.bytes)),
            (
                "reads",
                f"{_reads(state):,}"
                + (f", {state.hit_ratio:.0%} hits" if state.hit_ratio is not None else ""),
            ),
            ("pending marks", f"{state.pending_marks:,}"),
            ("oldest row", age(state.oldest_age_seconds)),
        ]
    run.out.table(("fact", "value"), [(fact, value) for fact, value in facts if value])
    run.out.text("")
    run.out.table(("column", "type"), list(zip(view.columns, view.column_types, strict=True)))
    if dependencies:
        run.out.text("")
        rows = [
            (
                one["source_table"],
                one["kind"],
                ", ".join(one["columns"] or ()),
                ", ".join(one["view_columns"]),
                "any" if one["matter_columns"] is None else ", ".join(one["matter_columns"]),
            )
            for one in dependencies
        ]
        run.out.table(("depends on", "kind", "column", "view column", "when these change"), rows)
    run.out.text("\n" + view.definition.strip())


def _reads(one: "ViewStats") -> int:
    return one.hits + one.misses + one.stale + one.bypassed


def _size(number: int) -> str:
    from rich.filesize import decimal

    return decimal(number)


def _show_stats(run: Run, found: list["ViewStats"]) -> None:
    rows = [
        (
            one.name,
            f"{one.rows:,}" if one.populated else "closed",
            _size(one.bytes),
            f"{_reads(one):,}",
            f"{one.hit_ratio:.0%}" if one.hit_ratio is not None else "",
            f"{one.pending_marks:,}",
            f"{one.expired:,}",
            age(one.oldest_age_seconds),
        )
        for one in found
    ]
    heads = ("name", "rows", "size", "reads", "hits", "marks", "expired", "oldest")
    run.out.table(heads, rows, right=heads[1:])
    for one in found:
        if one.problem:
            run.out.warn(f"{one.name} cannot be filled: {one.problem}")


def _show_verified(run: Run, found: list["Verification"], repaired: list[str]) -> None:
    heads = ("name", "compared", "cached", "different")
    rows = [(one.name, f"{one.compared:,}", f"{one.cached:,}", f"{one.different:,}") for one in found]
    run.out.table(heads, rows, right=heads[1:])
    for one in found:
        for difference in one.differences:
            values = dict(difference)
            key = ", ".join(f"{k}={cell(v)}" for k, v in values.get("key", {}).items())
            run.out.warn(f"{one.name} ({key}): {values.get('problem')}")
    if repaired:
        run.out.say(f"filled anew, and now equal: {', '.join(repaired)}")
    if any(not one.equal for one in found):
        run.out.say("meshcache plan PATH shows whether triggers are missing; verify --repair fills anew")
