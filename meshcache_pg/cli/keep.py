"""Verbs that keep the cache: migrate, refresh, invalidate, sweep, uninstall. Refresh and sweep are made for
cron: they may overlap, end in time, and with --quiet say nothing when all went well.
"""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshcache_pg.cli.options import AllKeys, DryRun, Key, MaxTime, Name, Names, Tenant, Whole, Yes
from meshcache_pg.cli.run import Run, WrongUsage, find
from meshcache_pg.cli.values import counted
from meshcache_pg.errors import LockBusy

if TYPE_CHECKING:
    from meshcache_pg.cache import MeshCache
    from meshcache_pg.maintenance import Mode, SweepReport

DRIFT, BUSY = 4, 5

# The differences that a sweep mends by itself.
MENDED = ("partitions changed", "triggers enabled otherwise", "what it rests on changed")


def migrate(ctx: typer.Context, dry_run: DryRun = False) -> None:
    """Install or upgrade the schema of the cache; a current one is left alone."""
    from meshcache_pg import migrate as migrations

    run: Run = ctx.obj
    with run.cache() as cache:
        if dry_run:
            with cache.begin() as connection:
                savepoint = connection.begin_nested()
                done = migrations.upgrade(connection)
                savepoint.rollback()
        else:
            done = cache.migrate()

    def display() -> None:
        if dry_run and done:
            run.out.text("\n".join(done))
        elif not done:
            run.out.say("nothing to do: the schema is current")
        for name in () if dry_run else done:
            run.out.say(f"ran {name}")

    run.out.result({"dry_run": dry_run, "ran": done}, display)


def refresh(
    ctx: typer.Context,
    names: Names = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="Every cached view and rollup.")] = False,
    due: Annotated[bool, typer.Option("--due", help="Rollups whose interval has passed.")] = False,
    all_keys: AllKeys = False,
    max_time: MaxTime = None,
    dry_run: DryRun = False,
) -> int:
    """Bring cached views up to date and rollups to this moment; exit 5 when others were at it."""
    run: Run = ctx.obj
    if sum((bool(names), every, due)) != 1:
        raise WrongUsage("refresh does not know what", hint="Give names, --all or --due; one of them.")
    with run.cache(max_time) as cache:
        chosen = _chosen(cache, names, due=due)
        if dry_run:
            data = {"dry_run": True, "state": "planned", "refreshed": [], "busy": [], "left": chosen}
            run.out.result(data, lambda: run.out.text("\n".join(chosen)) if chosen else None)
            return 0
        refreshed, busy, left = _refresh(run, cache, chosen, "all" if all_keys else "stale", max_time)
    state = "busy" if busy else "out of time" if left else "done"
    run.out.result({"dry_run": False, "state": state, "refreshed": refreshed, "busy": busy, "left": left})
    if not chosen:
        run.out.say("nothing is due" if due else "nothing is installed")
    if left:
        run.out.say(f"out of time, left for the next run: {', '.join(left)}")
    return BUSY if busy else 0


def invalidate(
    ctx: typer.Context,
    name: Name,
    key: Key = None,
    *,
    tenant: Tenant = None,
    whole: Whole = False,
    dry_run: DryRun = False,
) -> None:
    """Make one row, the rows of a tenant or a whole view stale: readers get the source until it is filled."""
    run: Run = ctx.obj
    target = invalidation_target(key, tenant, whole=whole)
    with run.cache() as cache:
        find(cache, name)
        if not dry_run:
            cache.invalidate(name, key=key or None, tenant=tenant)
    data = {"dry_run": dry_run, "name": name, "key": key or None, "tenant": tenant, "all": whole}
    run.out.result(
        data,
        lambda: (
            run.out.text(f"invalidate {target} of {name}")
            if dry_run
            else run.out.say(f"stale: {target} of {name}")
        ),
    )


def sweep(ctx: typer.Context, max_time: MaxTime = None, dry_run: DryRun = False) -> int:
    """Resolve pending marks and expired rows; exit 5 when another sweep is at it, 4 with damaged triggers."""
    run: Run = ctx.obj
    with run.cache(max_time) as cache:
        if dry_run:
            waiting = [
                {"name": one.name, "pending_marks": one.pending_marks, "expired": one.expired}
                for one in cache.stats()
                if one.kind != "rollup"
            ]
            heads = ("name", "marks", "expired")
            rows = [(str(w["name"]), f"{w['pending_marks']:,}", f"{w['expired']:,}") for w in waiting]
            run.out.result(
                {"dry_run": True, "views": waiting}, lambda: run.out.table(heads, rows, right=heads[1:])
            )
            return 0
        # Ending by itself beats being cut off: the step that --timeout interrupts is lost.
        report = cache.sweep(
            max_seconds=max_time if max_time is not None else 0.9 * cache.settings.timeout_seconds
        )
    return _report_sweep(run, report)


def uninstall(ctx: typer.Context, yes: Yes = False, dry_run: DryRun = False) -> None:
    """Remove the whole cache from the database, triggers first; the application's tables stay as they are."""
    run: Run = ctx.obj
    with run.cache() as cache:
        if dry_run:
            removed = list(cache.installed())
        else:
            run.confirm("Remove all cached views and both schemas of meshcache?", yes=yes)
            removed = []
            cache.uninstall()

    def display() -> None:
        if dry_run:
            run.out.text(
                "\n".join([*(f"drop {name}" for name in removed), "drop schemas meshcache, meshcache_data"])
            )
        else:
            run.out.say("uninstalled: both schemas and all mark triggers are gone")

    data = {"dry_run": dry_run, "schemas": ["meshcache", "meshcache_data"]}
    run.out.result({**data, "views": removed} if dry_run else data, display)


def invalidation_target(key: Sequence[str] | None, tenant: str | None, *, whole: bool) -> str:
    """What the arguments ask for, in words; they must ask for one thing."""
    if sum((bool(key), tenant is not None, whole)) != 1:
        raise WrongUsage(
            "invalidate does not know what", hint="Give a key, --tenant VALUE or --all; one of them."
        )
    if key:
        return f"the row ({', '.join(key)})"
    return "all rows" if whole else f"tenant {tenant}"


def _chosen(cache: "MeshCache", names: list[str] | None, *, due: bool) -> list[str]:
    if due:
        return cache.due_rollups()
    for name in names or ():
        find(cache, name)
    return list(names or cache.installed())


def _refresh(
    run: Run, cache: "MeshCache", names: Sequence[str], mode: "Mode", max_time: float | None
) -> tuple[list[dict[str, Any]], list[str], list[str]]:
    """What was refreshed, what others held, what there was no time for."""
    until = run.started + (max_time if max_time is not None else cache.settings.timeout_seconds)
    refreshed: list[dict[str, Any]] = []
    busy: list[str] = []
    with run.out.progress("refreshing", len(names)) as begin:
        for number, name in enumerate(names):
            started = time.monotonic()
            # The first one always gets its chance, or a short --max-time would never do anything.
            if number and started >= until:
                return refreshed, busy, list(names[number:])
            begin(name)
            try:
                rows = cache.refresh(name, mode, max_seconds=max(until - started, 1.0))
            except LockBusy as error:
                run.out.error(str(error), error.hint)
                busy.append(name)
                continue
            refreshed.append({"name": name, "rows": rows, "seconds": round(time.monotonic() - started, 3)})
            run.out.say(f"refreshed {name}" + ("" if rows is None else f": {counted(rows, 'row')}"))
    return refreshed, busy, []


def _report_sweep(run: Run, report: "SweepReport") -> int:
    drift = {what: how for what, how in report.differences.items() if how not in MENDED}
    data = {
        "dry_run": False,
        "state": report.state,
        "rows": report.rows,
        "marks": report.marks,
        "differences": report.differences,
    }
    done = f"{counted(report.marks, 'mark')} resolved, {counted(report.rows, 'row')} filled or removed"
    run.out.result(data, lambda: run.out.say(done))
    for what, how in report.differences.items():
        if how in MENDED:
            run.out.say(f"{what}: {how}; mended")
        else:
            run.out.warn(f"{what}: {how}; what depends on it is not cached. Apply its definitions again.")
    if report.state == "busy":
        run.out.error(
            "another sweep or a long fill is at work", "Nothing is lost; the next sweep goes on from here."
        )
        return BUSY
    if report.state == "out of time":
        run.out.say("out of time; the next sweep goes on from here")
    return DRIFT if drift else 0
