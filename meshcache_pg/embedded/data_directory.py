"""Checks a data directory that the caller names, before any program of PostgreSQL is let near it."""

from pathlib import Path

from meshcache_pg.embedded import reaper
from meshcache_pg.embedded.account import Account, default_account, owner_of
from meshcache_pg.embedded.installations import Installation
from meshcache_pg.errors import EmbeddedServerError


def major_of(data_dir: Path) -> int | None:
    """The major version that made a data directory; None when there is none yet."""
    try:
        return int((data_dir / "PG_VERSION").read_text("ascii"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise EmbeddedServerError(
            f"cannot read {data_dir / 'PG_VERSION'}: {error}",
            hint="start this as the user that the directory belongs to, or name another directory",
        ) from error


def claim(data_dir: Path, installation: Installation) -> Account:
    """Make the directory if need be and say who serves it; EmbeddedServerError when it cannot be served."""
    major = major_of(data_dir)
    if major is not None and major != installation.major:
        raise EmbeddedServerError(
            f"data directory {data_dir} was made by PostgreSQL {major}, this is {installation}",
            hint=f"use PostgreSQL {major}, or name another directory",
        )
    if major is not None:
        account = owner_of(data_dir)
    else:
        account = default_account()
        # Before anything is made in it.
        if data_dir.parent.is_dir() and not account.can("-x", data_dir.parent):
            raise _out_of_reach(data_dir, account)
        _make(data_dir, account)
    if not account.can("-w", data_dir):
        raise _out_of_reach(data_dir, account)
    return account


def ensure_free(data_dir: Path) -> None:
    """EmbeddedServerError when a server is at work there; takes away what a crashed one left."""
    pid = reaper.postmaster_of(str(data_dir))
    if pid is not None:
        raise EmbeddedServerError(
            f"data directory {data_dir} is already served by process {pid}",
            hint="stop that server first, or name another directory",
        )
    await_detached(data_dir)
    reaper.drop_stale_pid_file(str(data_dir))


def await_detached(data_dir: Path, timeout: float = 30) -> None:
    """Wait until no process of a crashed server holds its memory: they need a moment to notice the crash."""
    left = reaper.read_pid_file(str(data_dir))
    if left is None or left.segment_id is None:
        return
    segment = left.segment_id
    if not reaper.wait_until(lambda: not reaper.attached(segment), timeout):
        raise EmbeddedServerError(
            f"processes of the server that crashed in {data_dir} are still running",
            hint=f"end the processes that hold shared memory segment {segment} (`ipcs -mp`)",
        )


def _out_of_reach(data_dir: Path, account: Account) -> EmbeddedServerError:
    return EmbeddedServerError(
        f"user {account.name}, who runs the server, cannot reach {data_dir}",
        hint="name a directory whose parents are open to every user, below /var/tmp for example",
    )


def _make(data_dir: Path, account: Account) -> None:
    try:
        data_dir.mkdir(mode=0o700)
    except FileExistsError:
        if not data_dir.is_dir() or any(data_dir.iterdir()):
            raise EmbeddedServerError(
                f"{data_dir} is neither empty nor a data directory of PostgreSQL",
                hint="name another directory",
            ) from None
    except OSError as error:
        raise EmbeddedServerError(f"cannot make the data directory {data_dir}: {error.strerror}") from error
    account.own(data_dir)
