"""Who runs the server: PostgreSQL refuses root, so root needs another account and places it can reach.

Nothing of the system is changed for that: no account is made, no existing directory is opened to others.
"""

import functools
import os
import pwd
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from meshcache_pg.errors import EmbeddedServerError

# The server's own account first, under its names on Linux, macOS and the BSDs. nobody exists everywhere, but
# other services may run as nobody too, and they could reach the server's socket.
_NAMES = ("postgres", "_postgres", "pgsql", "nobody")

# The shortest limit of a socket's path is 103 bytes (macOS; Linux has 107).
_LONGEST_BASE = 103 - len("/s/.s.PGSQL.65535")

# For root, whose TMPDIR may be closed to others. Memory is the last choice: data may outgrow it.
_PLACES = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - a fresh directory is made in it


@dataclass(frozen=True)
class Account:
    """Whom to start programs as; without numbers, as the user that we are anyway."""

    name: str
    uid: int | None = None
    gid: int | None = None

    @property
    def extra_groups(self) -> Sequence[int] | None:
        """For `subprocess`: root's supplementary groups must not follow."""
        return None if self.uid is None else []

    def can(self, test: str, path: Path) -> bool:
        """Ask the system itself (`-x`, `-r`, `-w`), as that account: modes alone know nothing of ACLs."""
        done = subprocess.run(
            ["/bin/sh", "-c", 'cd / && test "$1" "$2"', "sh", test, str(path)],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=self.uid,
            group=self.gid,
            extra_groups=self.extra_groups,
            cwd="/",
            check=False,
        )
        return done.returncode == 0

    def own(self, path: Path) -> None:
        """Hand over a file or directory that we just made."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)


@functools.cache
def default_account() -> Account:
    """The account for a new data directory."""
    if os.geteuid() != 0:
        return Account(str(os.geteuid()))
    for name in _NAMES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Account(name, entry.pw_uid, entry.pw_gid)
    raise EmbeddedServerError(
        f"PostgreSQL does not run as root, and none of the users {', '.join(_NAMES)} exists",
        hint="start this as an ordinary user, or create a user named postgres",
    )


def owner_of(data_dir: Path) -> Account:
    """The account for a data directory that exists already: only its owner can serve it."""
    uid = data_dir.stat().st_uid
    if os.geteuid() != 0:
        if uid != os.geteuid():
            raise EmbeddedServerError(
                f"data directory {data_dir} belongs to another user (uid {uid})",
                hint="start this as that user, or name another directory",
            )
        return default_account()
    if uid == 0:
        raise EmbeddedServerError(
            f"data directory {data_dir} belongs to root, and PostgreSQL does not run as root",
            hint=f"give it away: chown -R {default_account().name} {data_dir}",
        )
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return Account(str(uid), uid, data_dir.stat().st_gid)
    return Account(entry.pw_name, uid, entry.pw_gid)


def make_base(account: Account) -> Path:
    """A fresh directory of our own, open to the account alone, with a path short enough for a socket.

    Root stays its owner, so that the server's account cannot exchange what root writes and removes in it.
    """
    tried = []
    for place in dict.fromkeys(Path(place).resolve() for place in (tempfile.gettempdir(), *_PLACES)):
        if len(os.fsencode(place)) + len("/meshcache-12345678") > _LONGEST_BASE:
            tried.append(f"{place} (path too long for a socket)")
        elif not os.access(place, os.W_OK | os.X_OK) or not account.can("-x", place):
            tried.append(f"{place} (not open to user {account.name})")
        else:
            base = Path(tempfile.mkdtemp(prefix="meshcache-", dir=place))
            if account.uid is not None and account.gid is not None:
                os.chown(base, 0, account.gid)
                base.chmod(0o750)
            return base
    raise EmbeddedServerError(
        f"found no directory for temporary files of the server: {'; '.join(tried)}",
        hint="set TMPDIR to a short path that this user can write to",
    )
