"""The command `meshcache`. A verb is parse, one call of MeshCache, print; what goes wrong ends here: one line
that says what, one that says what to do, and an exit code.

    0 done · 1 failed · 2 wrong usage · 3 cannot connect or bad configuration · 4 drift or difference ·
    5 lock busy · 130 interrupted

SQLAlchemy and Alembic are imported by the verbs that need them: --help and --version answer without.
"""

import sys
import traceback
from collections.abc import Sequence

import typer
from typer.exceptions import TyperException

from meshcache_pg.cli.app import build
from meshcache_pg.cli.run import Run
from meshcache_pg.errors import MeshcacheError

INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code; `argv` is without the program's name."""
    run = Run()
    try:
        code = build().main(args=argv, prog_name="meshcache", standalone_mode=False, obj=run)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last stop: whatever it is becomes two lines and a code
        if run.verbose:
            traceback.print_exception(error)
        return _report(run, error)
    if code == INTERRUPTED:
        run.out.say("interrupted")
    return code or 0


def _report(run: Run, error: Exception) -> int:
    message, hint, code = _explain(error)
    if not message:
        # Without any argument Typer has printed the help.
        return code
    run.out.error(message, hint)
    if run.json:
        run.out.result({"error": {"message": message, "hint": hint, "exit_code": code}})
    return code


def _explain(error: Exception) -> tuple[str, str | None, int]:
    """What is wrong, what to do, and the exit code."""
    if isinstance(error, MeshcacheError):
        # Cancelled, not locked out: trying again would end the same way.
        if _sqlstate(error.__cause__) == "57014":
            return str(error), "Give it longer: --timeout SECONDS.", 1
        return str(error), error.hint, error.exit_code
    if isinstance(error, TyperException):
        context = getattr(error, "ctx", None)
        path = context.command_path if context else "meshcache"
        return error.format_message(), f"{path} --help shows what there is.", error.exit_code
    if "sqlalchemy" in sys.modules:
        from sqlalchemy.exc import DBAPIError

        from meshcache_pg.database import primary_message

        if isinstance(error, DBAPIError):
            message, advice = primary_message(error)
            if (_sqlstate(error) or "").startswith("22"):
                advice = advice or "A value that was given does not fit its column."
            return message, advice or "This is the server's answer; -v shows the statement.", 1
    return f"{type(error).__name__}: {error}", "This should not happen; -v shows where it did.", 1


def _sqlstate(error: BaseException | None) -> str | None:
    state: str | None = getattr(getattr(error, "orig", None), "sqlstate", None)
    return state
