"""The verb demo: what the cache does, shown on a private server that leaves nothing behind."""

import threading
from pathlib import Path
from typing import Annotated

import typer

from meshcache_pg.cli.run import Run


def demo(
    ctx: typer.Context,
    *,
    size: Annotated[
        str, typer.Option("--size", help="demo, small, or numbers: projects,workflows,runs,events per run.")
    ] = "demo",
    seed: Annotated[int, typer.Option("--seed", help="The same seed gives the same data and keys.")] = 1,
    pairs: Annotated[int, typer.Option("--pairs", min=1, help="How often each read is compared.")] = 300,
    pg: Annotated[
        int | None,
        typer.Option("--pg", metavar="MAJOR", help="Which PostgreSQL of this machine; the newest."),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option("--data-dir", metavar="DIR", help="Keep the data here, or use what is here."),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the server running until Ctrl-C.")] = False,
) -> int:
    """Start a private PostgreSQL with MeshHook's data and see the cache read, invalidate, crash and recover.

    Exits 4 if one answer of the cache differs from the source's.
    """
    from meshcache_pg.demo import Options, Report, parse_size, show

    run: Run = ctx.obj
    options = Options(parse_size(size), seed, pairs, pg, data_dir, keep)
    report = Report(silent=run.json or run.quiet, color=not run.no_color)
    with show(options, report) as outcome:
        run.out.result(outcome.figures)
        if keep:
            _wait()
    return outcome.exit_code


def _wait() -> None:
    """Until Ctrl-C, which is how this is meant to end."""
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        return
