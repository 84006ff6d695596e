"""Verbs that bring the database to what is declared: plan, apply, create, drop."""

import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.text import Text

from meshcache_pg.cli.options import DryRun, Meshhook, Name, NoFill, Paths, Prune, Yes
from meshcache_pg.cli.run import Run, WrongUsage, find
from meshcache_pg.cli.values import counted
from meshcache_pg.errors import DefinitionError, LockBusy, MeshcacheError

if TYPE_CHECKING:
    from meshcache_pg.cache import MeshCache
    from meshcache_pg.catalog import Step
    from meshcache_pg.definition import Definition

DRIFT = 4
# The first lines of a file for `apply`, whose headers `create` would read beside its own options.
_HEADER = re.compile(r"\s*(?:--[^\n]*\n\s*)*--\s?(?:name|key|kind|coverage):")
_COLORS = {"create": "green", "replace": "yellow", "repair": "yellow", "drop": "red"}


def plan(
    ctx: typer.Context,
    paths: Paths = None,
    *,
    meshhook: Meshhook = False,
    prune: Prune = False,
    check: Annotated[bool, typer.Option("--check", help="Exit 4 when something would change.")] = False,
) -> int:
    """Show what apply would do, and whether the server accepts it."""
    run: Run = ctx.obj
    declared = definitions(paths, meshhook=meshhook)
    with run.cache() as cache:
        steps = cache.plan(declared, prune=prune)
    run.out.result({"changes": len(_changes(steps)), "steps": _as_data(steps)}, lambda: _show(run, steps))
    return DRIFT if check and _changes(steps) else 0


def apply(
    ctx: typer.Context,
    paths: Paths = None,
    *,
    meshhook: Meshhook = False,
    prune: Prune = False,
    no_fill: NoFill = False,
    dry_run: DryRun = False,
) -> None:
    """Create, replace and repair views until the database is as declared, then fill what is new."""
    run: Run = ctx.obj
    declared = definitions(paths, meshhook=meshhook)
    with run.cache() as cache:
        _apply(run, cache, declared, prune=prune, fill=not no_fill, dry_run=dry_run)


def create(
    ctx: typer.Context,
    name: Name,
    *,
    key: Annotated[
        list[str], typer.Option("--key", metavar="COLUMN", help="A column of the key; repeat it for several.")
    ],
    query: Annotated[str | None, typer.Option("--query", metavar="SQL", help="The SELECT to cache.")] = None,
    query_file: Annotated[
        Path | None,
        typer.Option("--query-file", metavar="FILE", help="A file with it; - is stdin."),
    ] = None,
    coverage: Annotated[
        Literal["on_demand", "complete"] | None,
        typer.Option("--coverage", help="Asked keys only, or all rows."),
    ] = None,
    flush: Annotated[
        list[str] | None,
        typer.Option("--flush", metavar="TABLE", help="Any change of it may make every row stale."),
    ] = None,
    depends: Annotated[
        list[str] | None,
        typer.Option("--depends", metavar="TEXT", help="Such as: orders(id) = (id); else it is derived."),
    ] = None,
    tenant: Annotated[
        str | None, typer.Option("--tenant", metavar="COLUMN", help="The tenant column.")
    ] = None,
    index: Annotated[
        list[str] | None,
        typer.Option("--index", metavar="COLUMNS", help="An index for lists, such as: shop_id, id desc."),
    ] = None,
    ttl: Annotated[
        str | None, typer.Option("--ttl", metavar="DURATION", help="Longest age of a row: 1h30m.")
    ] = None,
    rollup: Annotated[
        bool, typer.Option("--rollup", help="A materialized view, as old as its refresh.")
    ] = False,
    refresh_every: Annotated[
        str | None,
        typer.Option("--refresh-every", metavar="DURATION", help="When a rollup is due again: 5m."),
    ] = None,
    json_text: Annotated[
        list[str] | None,
        typer.Option(
            "--json-text", metavar="COLUMN", help="A jsonb column to cache as text, too; repeat it."
        ),
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option("--allow", metavar="WHAT", help="What is meant: session, row_security; repeat it."),
    ] = None,
    allow_secret: Annotated[
        list[str] | None,
        typer.Option("--allow-secret", metavar="COLUMN", help="A secret to copy: table.column; repeat it."),
    ] = None,
    grant: Annotated[
        list[str] | None,
        typer.Option("--grant", metavar="ROLE", help="A role that may read; repeat it for several."),
    ] = None,
    description: Annotated[
        str | None, typer.Option("--description", help="What it serves, in a sentence.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a view of that name.")] = False,
    no_fill: NoFill = False,
    dry_run: DryRun = False,
) -> None:
    """Declare one cached view or rollup without a file, and apply it."""
    from meshcache_pg.definition import parse

    run: Run = ctx.obj
    if (query is None) == (query_file is None):
        raise WrongUsage("create needs one SELECT", hint="Give either --query SQL or --query-file FILE.")
    select = _select(query, query_file)
    if _HEADER.match(select):
        raise WrongUsage(
            "the SELECT has headers of a definition", hint="Use meshcache apply FILE, or take them away."
        )
    headers: dict[str, Sequence[str | None]] = {
        "name": [name],
        "kind": ["rollup"] if rollup or refresh_every else [],
        "key": [", ".join(key)],
        "coverage": [coverage],
        "tenant": [tenant],
        "index": index or [],
        "ttl": [ttl],
        "refresh_every": [refresh_every],
        "flush": [", ".join(flush or [])],
        "depends": depends or [],
        "json_text": [", ".join(json_text or [])],
        "allow": [", ".join(allow or [])],
        "allow_secret": [", ".join(allow_secret or [])],
        "grant": [", ".join(grant or [])],
    }
    lines = [f"-- {description}"] if description else []
    lines += [f"-- {header}: {value}" for header, values in headers.items() for value in values if value]
    if any("\n" in line for line in lines):
        raise WrongUsage("a value with a line break cannot be a header", hint="Write it on one line.")
    declared = parse("\n".join([*lines, select]), f"create {name}")
    with run.cache() as cache:
        if not replace and name in cache.installed():
            raise DefinitionError(f"{name} is there already", hint="Add --replace, or drop it first.")
        _apply(run, cache, [declared], prune=False, fill=not no_fill, dry_run=dry_run)


def drop(ctx: typer.Context, name: Name, yes: Yes = False, dry_run: DryRun = False) -> None:
    """Drop one cached view or rollup; the tables that it reads stay, without triggers of no further use."""
    run: Run = ctx.obj
    with run.cache() as cache:
        view = find(cache, name)
        if not dry_run:
            run.confirm(f"Drop the {view.kind.replace('_', ' ')} {name}?", yes=yes)
            cache.drop(name)
    run.out.result(
        {"dry_run": dry_run, "dropped": name},
        lambda: run.out.text(f"drop {name}") if dry_run else run.out.say(f"dropped {name}"),
    )


def suspend(
    ctx: typer.Context,
    tables: Annotated[
        list[str], typer.Argument(metavar="TABLE", help="Tables that will change.", show_default=False)
    ],
    *,
    dry_run: DryRun = False,
) -> None:
    """Take away what reads these tables, so that the application may change them; then resume."""
    run: Run = ctx.obj
    with run.cache() as cache:
        names = cache.readers(tables) if dry_run else cache.suspend(tables)
    run.out.result(
        {"dry_run": dry_run, "suspended": names},
        lambda: run.out.text("\n".join(f"suspend {name}" for name in names)) if dry_run and names else None,
    )
    if not dry_run:
        for name in names:
            run.out.say(f"suspended {name}")
    if not names:
        run.out.say("nothing to do: no cached view or rollup reads them")


def resume(
    ctx: typer.Context,
    paths: Paths = None,
    *,
    no_fill: NoFill = False,
    dry_run: DryRun = False,
) -> None:
    """Apply what was suspended again, from the catalog or from changed definitions, and fill it."""
    from meshcache_pg.definition import load

    run: Run = ctx.obj
    changed = load(paths) if paths else []
    with run.cache() as cache:
        if dry_run:
            _apply(run, cache, cache.unfinished(changed), prune=False, fill=False, dry_run=True)
            return
        steps = cache.resume(changed)
        for step in steps:
            run.out.say(_line(step))
        if not steps:
            run.out.say("nothing to do: nothing is suspended")
        filled = [] if no_fill else _fill(run, cache, steps)
    run.out.result({"dry_run": False, "steps": _as_data(steps), "filled": filled})


def definitions(paths: Sequence[Path] | None, *, meshhook: bool) -> list["Definition"]:
    """What the arguments of plan and apply declare."""
    from meshcache_pg.definition import load

    if bool(paths) == meshhook:
        raise WrongUsage("nothing to read definitions from", hint="Give files or folders, or --meshhook.")
    if meshhook:
        from meshcache_pg.meshhook import pack

        return pack()
    return load(paths or [])


def _select(query: str | None, file: Path | None) -> str:
    if file is None:
        return query or ""
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise WrongUsage(f"{file} cannot be read: {error}", hint="Give a file with one SELECT.") from error


def _apply(
    run: Run, cache: "MeshCache", declared: Sequence["Definition"], *, prune: bool, fill: bool, dry_run: bool
) -> None:
    if dry_run:
        steps = cache.plan(declared, prune=prune)
        run.out.result({"dry_run": True, "steps": _as_data(steps), "filled": []}, lambda: _show(run, steps))
        return
    steps = cache.apply(declared, prune=prune)
    for step in _changes(steps):
        run.out.say(_line(step))
    _warn(run, steps)
    if not _changes(steps):
        run.out.say(f"nothing to do: {counted(len(steps), 'view')} unchanged")
    filled = _fill(run, cache, steps) if fill else []
    run.out.result({"dry_run": False, "steps": _as_data(steps), "filled": filled})


def _fill(run: Run, cache: "MeshCache", steps: Sequence["Step"]) -> list[dict[str, Any]]:
    """Fill what was just built and is to be complete; what is asked for key by key fills itself."""
    new = [step.definition for step in _changes(steps) if step.definition is not None]
    names = [d.name for d in new if d.kind == "rollup" or d.coverage == "complete"]
    filled = []
    with run.out.progress("filling", len(names)) as begin:
        for name in names:
            begin(name)
            started = time.monotonic()
            try:
                rows = cache.refresh(name, "all")
            except MeshcacheError as error:
                # Busy or cancelled is not lost: the views are there, exact and only not fast yet.
                kind = LockBusy if isinstance(error, LockBusy) else MeshcacheError
                raise kind(
                    f"applied, but {name} is not filled: {error}", hint=f"meshcache refresh {name}"
                ) from error
            filled.append({"name": name, "rows": rows, "seconds": round(time.monotonic() - started, 3)})
            run.out.say(f"filled {name}" + ("" if rows is None else f": {counted(rows, 'row')}"))
    return filled


def _changes(steps: Sequence["Step"]) -> list["Step"]:
    return [step for step in steps if step.action != "keep"]


def _as_data(steps: Sequence["Step"]) -> list[dict[str, str | None]]:
    return [{n: getattr(step, n) for n in ("action", "name", "reason", "remark")} for step in steps]


def _warn(run: Run, steps: Sequence["Step"]) -> None:
    for step in steps:
        if step.remark:
            run.out.warn(f"{step.name}: {step.remark}")


def _line(step: "Step") -> Text:
    return Text.assemble((step.action, _COLORS[step.action]), f" {step.name}: {step.reason}")


def _show(run: Run, steps: Sequence["Step"]) -> None:
    changes = _changes(steps)
    if changes:
        rows = [(Text(s.action, style=_COLORS[s.action]), s.name, s.reason) for s in changes]
        run.out.table(("action", "name", "why"), rows)
    _warn(run, steps)
    kept = [step for step in steps if step.action == "keep"]
    undeclared = [step.name for step in kept if step.definition is None]
    run.out.say(f"{counted(len(changes), 'change')}, {len(kept) - len(undeclared)} unchanged")
    if undeclared:
        run.out.say(f"not declared here, kept: {', '.join(undeclared)} (--prune would drop them)")
