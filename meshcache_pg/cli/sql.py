"""Twins of verbs: `meshcache sql VERB` prints what `meshcache VERB` would run, for review, psql, pg_cron."""

from typing import Any

import typer

from meshcache_pg.cli.declare import definitions
from meshcache_pg.cli.keep import invalidation_target
from meshcache_pg.cli.options import AllKeys, Key, MaxTime, Meshhook, Name, Paths, Prune, Tenant, Whole
from meshcache_pg.cli.run import Run, find

STOP = "Run it with psql -v ON_ERROR_STOP=1 -f, as the role that ran migrate."
BOUND = "Made for this very database: it stops when the catalog has changed since."


def migrate(ctx: typer.Context) -> None:
    """Print a fresh installation of the schema; needs no database."""
    from meshcache_pg.migrate import script

    depends = "-- For a database without schema meshcache; the role needs CREATE on the database.\n"
    _print(ctx.obj, depends + script())


def apply(ctx: typer.Context, paths: Paths = None, meshhook: Meshhook = False, prune: Prune = False) -> None:
    """Print what apply would run on this database, without keeping anything; filling is not part of it."""
    from meshcache_pg import catalog
    from meshcache_pg.cli.capture import guarded, script

    run: Run = ctx.obj
    declared = definitions(paths, meshhook=meshhook)
    with run.cache() as cache, cache.begin() as connection:
        steps = catalog.plan(connection, declared, prune=prune)
        if all(step.action == "keep" for step in steps):
            run.out.say("nothing to do: the database is as declared")
            _print(run, "-- Nothing to do: the database is as declared.")
            return
        statements = guarded(connection, lambda on: catalog.apply(on, steps))
    _print(run, script(statements, BOUND, STOP, "Fill what is new afterwards: meshcache sql refresh NAME."))


def refresh(ctx: typer.Context, name: Name, all_keys: AllKeys = False, max_time: MaxTime = None) -> None:
    """Print the call that refreshes one view or rollup; needs no database."""
    values = {
        "name": name,
        "mode": "all" if all_keys else "stale",
        "max_seconds": 600.0 if max_time is None else max_time,
    }
    _print(ctx.obj, _call("refresh", values))


def sweep(ctx: typer.Context, max_time: MaxTime = None) -> None:
    """Print the call that sweeps; needs no database."""
    from meshcache_pg.maintenance import SWEEP_BATCH

    _print(ctx.obj, _call("sweep", {"max_seconds": max_time, "batch": SWEEP_BATCH}))


def invalidate(
    ctx: typer.Context, name: Name, key: Key = None, tenant: Tenant = None, whole: Whole = False
) -> None:
    """Print the call that makes a row, a tenant's rows or a whole view stale."""
    from meshcache_pg import maintenance
    from meshcache_pg.cli.capture import captured

    run: Run = ctx.obj
    invalidation_target(key, tenant, whole=whole)
    with run.cache() as cache:
        find(cache, name)
        with cache.begin() as connection:
            target = cache.target(connection, name)
            statements = captured(
                connection, lambda on: maintenance.invalidate(on, target, key=key or None, tenant=tenant)
            )
    _print(run, ";\n".join(statements) + ";")


def uninstall(ctx: typer.Context) -> None:
    """Print what uninstall would run on this database; locks its tables for the moment of finding out."""
    from meshcache_pg import install
    from meshcache_pg.cli.capture import captured, script

    run: Run = ctx.obj
    with run.cache() as cache, cache.begin() as connection:
        statements = captured(connection, install.uninstall)
    _print(run, script(statements, "Made for this very database as it is now.", STOP))


def _print(run: Run, text: str) -> None:
    run.out.result({"sql": text}, lambda: run.out.text(text))


def _call(name: str, values: dict[str, Any]) -> str:
    """A call of the package's own queries with its values in it."""
    from sqlalchemy import text
    from sqlalchemy.dialects import postgresql

    from meshcache_pg.sql import query

    bound = text(query("maintenance", name)).bindparams(**values)
    dialect = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]
    compiled = bound.compile(dialect=dialect, compile_kwargs={"literal_binds": True})
    return "-- Outside a transaction block: it commits between its steps.\n" + str(compiled) + ";"
