"""Starts PostgreSQL's programs as the server's account, and never one that the watchdog does not know of."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from meshcache_pg.embedded import reaper
from meshcache_pg.embedded.account import Account
from meshcache_pg.embedded.lifeline import Lifeline
from meshcache_pg.errors import EmbeddedServerError

# Waits for a line before it turns into the program: were we killed between starting a process and telling the
# watchdog, nobody would know it. If the line does not come, the process ends.
_ON_CALL = 'read -r go && log=$1 && shift && exec "$@" </dev/null >>"$log" 2>&1'


def start(
    command: Sequence[str], account: Account, lifeline: Lifeline, log: Path
) -> "subprocess.Popen[bytes]":
    """Start a program in a session of its own; its output goes to `log`, opened as the account."""
    process = subprocess.Popen(
        ["/bin/sh", "-c", _ON_CALL, "sh", str(log), *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env=_environment(),
        user=account.uid,
        group=account.gid,
        extra_groups=account.extra_groups,
        umask=0o077,
        # Ctrl-C is for the parent, which then stops the server properly.
        start_new_session=True,
    )
    try:
        lifeline.tell("process", process.pid)
    except BaseException:
        process.communicate()  # the call does not come: the process ends
        raise
    if process.stdin:
        with process.stdin as call:
            call.write(b"go\n")
    return process


def run(command: Sequence[str], account: Account, lifeline: Lifeline, log: Path, timeout: float) -> None:
    """Run a program to its end; EmbeddedServerError with what it said when that is not a good one."""
    process = start(command, account, lifeline, log)
    name = Path(command[0]).name
    try:
        code = process.wait(timeout)
    except BaseException as error:
        reaper.kill_family(process.pid, timeout=10)
        process.wait()
        if isinstance(error, subprocess.TimeoutExpired):
            raise EmbeddedServerError(f"{name} did not finish within {timeout:g} s:\n{tail(log)}") from None
        raise
    if code != 0:
        raise EmbeddedServerError(f"{name} failed with exit code {code}:\n{tail(log)}")


def tail(log: Path, lines: int = 40, start: int = 0) -> str:
    """The last lines of a log, from byte `start` on; empty when there is no log."""
    try:
        # The directory belongs to the server's account: do not follow it elsewhere.
        descriptor = os.open(log, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return ""
    with os.fdopen(descriptor, "rb") as file:
        # Enough for any useful number of lines, also when the log has grown for days.
        file.seek(max(start, file.seek(0, os.SEEK_END) - 256 * 1024))
        return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-lines:])


def _environment() -> dict[str, str]:
    # PGDATA, PGPORT, PGOPTIONS ... of the caller mean another server. English messages and times in UTC keep
    # logs and tests the same everywhere.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_"))}
    return inherited | {"LC_ALL": "C", "TZ": "UTC"}
