"""The list of verbs, and the options that all of them take before or after the verb."""

import copy
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from meshcache_pg import __version__
from meshcache_pg.cli import declare, keep, look, sql
from meshcache_pg.cli.demo import demo
from meshcache_pg.cli.explain import explain
from meshcache_pg.cli.run import Run

# name, function, example; the order is that of --help.
Verbs = tuple[tuple[str, Callable[..., Any], str], ...]

DECLARE: Verbs = (
    ("migrate", keep.migrate, "meshcache -d postgresql://localhost/app migrate"),
    ("plan", declare.plan, "meshcache plan views/ --check"),
    ("apply", declare.apply, "meshcache apply views/ --prune"),
    (
        "create",
        declare.create,
        "meshcache create card --key id --query 'select id, name from item'",
    ),
    ("drop", declare.drop, "meshcache drop card --yes"),
    ("suspend", declare.suspend, "meshcache suspend orders order_lines"),
    ("resume", declare.resume, "meshcache resume"),
    ("uninstall", keep.uninstall, "meshcache uninstall --dry-run"),
)
LOOK: Verbs = (
    ("demo", demo, "meshcache demo"),
    ("list", look.list_, "meshcache list"),
    ("show", look.show, "meshcache show card"),
    ("get", look.get, "meshcache get card 42 --json"),
    ("explain", explain, "meshcache explain views/card.sql"),
    ("stats", look.stats, "meshcache stats"),
    ("verify", look.verify, "meshcache verify --live --seconds 60"),
)
KEEP: Verbs = (
    ("refresh", keep.refresh, "meshcache refresh --due --quiet --max-time 50"),
    ("invalidate", keep.invalidate, "meshcache invalidate card 42"),
    ("sweep", keep.sweep, "meshcache sweep --quiet --max-time 50"),
)
SQL: Verbs = (
    ("migrate", sql.migrate, "meshcache sql migrate | psql -v ON_ERROR_STOP=1"),
    ("apply", sql.apply, "meshcache sql apply views/ > apply.sql"),
    ("refresh", sql.refresh, "meshcache sql refresh card --all-keys"),
    ("sweep", sql.sweep, "meshcache sql sweep --max-time 50"),
    ("invalidate", sql.invalidate, "meshcache sql invalidate card 42"),
    ("uninstall", sql.uninstall, "meshcache sql uninstall > uninstall.sql"),
)
EXIT_CODES = (
    "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 cannot connect or bad configuration, "
    "4 drift or difference, 5 lock busy, 130 interrupted."
)
GLOBAL = ("dsn", "json", "quiet", "verbose", "no_color", "timeout")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"meshcache {__version__}")
        raise typer.Exit


def _root(
    ctx: typer.Context,
    *,
    dsn: Annotated[
        str | None,
        typer.Option(
            "--dsn",
            "-d",
            metavar="DSN",
            help="Database; else MESHCACHE_DSN, DATABASE_URL, libpq's PG variables.",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Say nothing on stderr when all goes well.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show tracebacks and debug messages.")
    ] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours; NO_COLOR does the same.")] = False,
    timeout: Annotated[
        float | None,
        typer.Option("--timeout", metavar="SECONDS", min=0.1, help="Longest time to work; default 600."),
    ] = None,
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """A cache inside PostgreSQL: cached views that are exact in every snapshot; rollups with their age."""
    given = {
        "dsn": dsn,
        "json": json,
        "quiet": quiet,
        "verbose": verbose,
        "no_color": no_color,
        "timeout": timeout,
    }
    for name, value in given.items():
        _take(ctx.obj, name, value)


def _take(run: Run, name: str, value: Any) -> None:
    # An option that is not there must not undo the one before the verb.
    if value:
        setattr(run, name, value)


def build() -> TyperGroup:
    """The command with all its verbs."""
    app = typer.Typer(name="meshcache", no_args_is_help=True, epilog=EXIT_CODES)
    app.callback()(_root)
    _add(app, DECLARE, "Declare")
    _add(app, LOOK, "Look")
    _add(app, KEEP, "Keep")
    twins = typer.Typer(no_args_is_help=True, help="Print the SQL that a verb would run.")
    _add(twins, SQL, None)
    app.add_typer(twins, name="sql", rich_help_panel="Look")
    group = typer.main.get_command(app)
    if not isinstance(group, TyperGroup):
        raise TypeError("several verbs make a group")
    _share_global_options(group)
    for command in (group, *_below(group)):
        for param in command.params:
            if getattr(param, "is_bool_flag", False):
                # Typer would show the type <bool> beside every flag.
                param.metavar = ""
    return group


def _add(app: typer.Typer, verbs: Verbs, panel: str | None) -> None:
    for name, function, example in verbs:
        app.command(name, epilog=f"Example: {example}", rich_help_panel=panel)(function)


def _share_global_options(root: TyperGroup) -> None:
    """Let every verb accept what may also stand before it, so that nobody has to remember the place."""

    def take(ctx: typer.Context, param: Any, value: Any) -> None:
        _take(ctx.obj, param.name, value)

    for option in [param for param in root.params if param.name in GLOBAL]:
        for command in _below(root):
            twin: Any = copy.copy(option)
            twin.expose_value = False
            twin.callback = take
            twin.rich_help_panel = "Options of every verb"
            command.params.append(twin)


def _below(group: TyperGroup) -> Iterator[TyperCommand | TyperGroup]:
    for command in group.commands.values():
        if isinstance(command, (TyperCommand, TyperGroup)):
            yield command
        if isinstance(command, TyperGroup):
            yield from _below(command)
