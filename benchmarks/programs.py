"""The server programs of other ways to cache: found on this machine, or else fetched without becoming root.

A program that is not installed is taken out of its Debian or Ubuntu package: downloaded by apt-get, unpacked
into `.bench/` of the checkout, never installed. Servers listen on a socket in a directory of their own, and
end with the block that started them, or with this process if it is killed.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.bench import Bench
from meshcache_pg.embedded.reaper import wait_until

FETCHED: Final = Path(__file__).resolve().parents[1] / ".bench"

# Debian keeps Redis's one binary beside its tools; `redis-server` is a link to it in a package of its own.
_PACKAGES: Final = {
    "redis-server": ("redis-server", "redis-tools"),
    "memcached": ("memcached",),
    "pgbouncer": ("pgbouncer",),
}
# Where servers are that a user's PATH does not name.
_ALSO: Final = "/usr/local/sbin:/usr/sbin:/sbin"
_FETCH_SECONDS: Final = 60.0
_START_SECONDS: Final = 10.0
_STOP_SECONDS: Final = 10.0

# The program ends with the shell's input, whose other end only the process that started it holds: whether
# that process closes it or is killed. Ctrl-C does not come to a session of its own.
_TIED: Final = '"$@" & read -r _; kill $!; wait $!'


class NotFoundError(Exception):
    """A program is neither installed nor could it be fetched."""


@dataclass(frozen=True, slots=True)
class Program:
    """A server program; `libraries` are directories with what it needs and the system does not have."""

    name: str
    path: Path
    libraries: tuple[Path, ...] = ()

    @property
    def environment(self) -> dict[str, str]:
        """What it has to be started with."""
        if not self.libraries:
            return dict(os.environ)
        places = [*map(str, self.libraries), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
        return os.environ | {"LD_LIBRARY_PATH": ":".join(places)}

    @property
    def version(self) -> str:
        """As it says itself, in one line."""
        done = subprocess.run(
            [self.path, "--version"], env=self.environment, capture_output=True, text=True, check=True
        )
        return done.stdout.splitlines()[0]


def find(bench: Bench, name: str, *, fetched: Path = FETCHED) -> Program | None:
    """A program, or None, and then the benchmark says what it leaves out and why.

    A smoke run fetches nothing.
    """
    try:
        return locate(name, fetched, fetch=not bench.smoke)
    except NotFoundError as error:
        bench.left_out.append(str(error))
        bench.say(f"left out: {error}")
        return None


def locate(name: str, fetched: Path = FETCHED, *, fetch: bool = True) -> Program:
    """The installed program, else the one that is or now becomes unpacked under `fetched`.

    Raises: NotFoundError, which says why not.
    """
    installed = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:{_ALSO}")
    if installed:
        return Program(name, Path(installed))
    place = fetched / name
    if not place.is_dir():
        if not fetch:
            raise NotFoundError(f"{name} is not installed")
        _fetch(name, place)
    found = shutil.which(name, path=":".join(str(place / part) for part in ("usr/bin", "usr/sbin")))
    if found is None:
        raise NotFoundError(f"{name} is not in the package that was fetched to {place}")
    libraries = sorted({path.parent for path in place.rglob("*.so*")})
    return Program(name, Path(found), tuple(libraries))


def _fetch(name: str, place: Path) -> None:
    for tool in ("apt-get", "apt-cache", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise NotFoundError(f"{name} is not installed, and without {tool} it cannot be fetched")
    place.parent.mkdir(parents=True, exist_ok=True)
    # Whoever comes at the same time, or after somebody was interrupted, sees the whole or nothing.
    with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=place.parent) as scratch:
        unpacked = Path(scratch, "unpacked")
        for package in _PACKAGES[name]:
            _unpack(name, package, unpacked)
        if _lacks_libraries(unpacked, name):
            for library in _libraries_of(name, _PACKAGES[name]):
                _unpack(name, library, unpacked)
        with suppress(FileExistsError):
            unpacked.rename(place)


def _unpack(name: str, package: str, into: Path) -> None:
    with tempfile.TemporaryDirectory(dir=into.parent) as downloads:
        _tool(name, ["apt-get", "download", package], cwd=Path(downloads))
        for archive in Path(downloads).glob("*.deb"):
            _tool(name, ["dpkg-deb", "-x", str(archive), str(into)], cwd=into.parent)


def _lacks_libraries(unpacked: Path, name: str) -> bool:
    program = next((path for path in unpacked.glob(f"usr/*bin/{name}") if path.exists()), None)
    return program is not None and "not found" in _tool(name, ["ldd", str(program)], cwd=unpacked)


def _libraries_of(name: str, packages: Sequence[str]) -> list[str]:
    """What the packages depend on directly. The C library has to be the system's: its loader is."""
    said = _tool(name, ["apt-cache", "depends", "--important", *packages], cwd=Path("/"))
    words = [line.split() for line in said.splitlines()]
    found = {two[1] for two in words if len(two) == 2 and two[0] in ("Depends:", "PreDepends:")}
    return sorted(one for one in found if one.startswith("lib") and not one.startswith("libc6"))


def _tool(name: str, command: Sequence[str], cwd: Path) -> str:
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=os.environ | {"LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_FETCH_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise NotFoundError(f"{name} is not installed, and {command[0]} took too long to fetch it") from error
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise NotFoundError(f"{name} is not installed, and {command[0]} could not fetch it: {last}")
    return done.stdout


@contextmanager
def redis_server(program: Program) -> Iterator[Path]:
    """A Redis that stores nothing on disk; yields its socket."""
    with _directory() as directory:
        options = ["--port", "0", "--unixsocket", str(directory / "socket"), "--dir", str(directory)]
        options += ["--save", "", "--appendonly", "no"]
        with _running(program, options, directory, b"PING\r\n", b"+PONG"):
            yield directory / "socket"


@contextmanager
def memcached(program: Program) -> Iterator[Path]:
    """A memcached with room for everything that is compared; yields its socket."""
    with _directory() as directory:
        options = ["-s", str(directory / "socket"), "-m", "512"]
        # It refuses to run as root unless it is told to.
        options += ["-u", "root"] if os.geteuid() == 0 else []
        with _running(program, options, directory, b"version\r\n", b"VERSION"):
            yield directory / "socket"


@contextmanager
def _directory() -> Iterator[Path]:
    # Not in TMPDIR: the path of a socket may have a hundred characters only.
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/var/tmp") as name:
        yield Path(name)


@contextmanager
def _running(
    program: Program, options: Sequence[str], directory: Path, question: bytes, answer: bytes
) -> Iterator[None]:
    log = directory / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["/bin/sh", "-c", _TIED, "sh", str(program.path), *options],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env=program.environment,
            start_new_session=True,
        )
    try:
        if not wait_until(lambda: _answers(directory / "socket", question, answer), _START_SECONDS):
            raise RuntimeError(f"{program.name} does not start:\n{log.read_text('utf-8', 'replace')}")
        yield
    finally:
        _stop(process)


def _answers(path: Path, question: bytes, answer: bytes) -> bool:
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(1.0)
        try:
            asking.connect(str(path))
            asking.sendall(question)
            return asking.recv(64).startswith(answer)
        except OSError:
            return False


def _stop(process: "subprocess.Popen[bytes]") -> None:
    if process.stdin:
        process.stdin.close()
    try:
        process.wait(_STOP_SECONDS)
    except BaseException:
        # Shell and program are the session's only processes.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
