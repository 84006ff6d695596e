"""A private Redis on a socket in a directory of its own: no persistence, no port, gone afterwards."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from meshcache_pg.embedded.reaper import wait_until

_PROGRAM = "redis-server"
NOT_FOUND = f"no program {_PROGRAM} was found (Debian: apt-get install redis-server)"


def find_redis() -> str | None:
    """The program."""
    return shutil.which(_PROGRAM)


def redis_version(program: str) -> str:
    """As it says itself: "Redis server v=7.0.15 sha=…"."""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return done.stdout.split("v=", 1)[1].split()[0]


@contextmanager
def redis_server(program: str) -> Iterator[str]:
    """Run it; yields the path of its socket."""
    with tempfile.TemporaryDirectory(prefix="redis-", dir="/var/tmp") as name:
        socket = Path(name, "redis.sock")
        options = ["--port", "0", "--unixsocket", str(socket), "--save", "", "--appendonly", "no"]
        log = Path(name, "redis.log")
        process = subprocess.Popen(
            [program, *options, "--dir", name, "--logfile", str(log)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            started = wait_until(lambda: socket.exists() or process.poll() is not None, 10)
            if not started or process.poll() is not None:
                said = log.read_text("utf-8") if log.exists() else ""
                raise RuntimeError(f"{_PROGRAM} does not start:\n{said}")
            yield str(socket)
        finally:
            process.terminate()
            process.wait()
