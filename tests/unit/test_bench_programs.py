"""Server programs for benchmarks: found, started, and ended with whoever started them."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import programs
from benchmarks.bench import Bench
from meshcache_pg.embedded.reaper import state_of, wait_until

# Answers like a Redis that is up, on the socket that the options name.
_SERVER = """#!{python}
import os, socket, sys
if "--version" in sys.argv:
    sys.exit(print("server 1.0"))
listening = socket.socket(socket.AF_UNIX)
listening.bind(sys.argv[sys.argv.index("--unixsocket") + 1])
open({pid!r}, "w").write(str(os.getpid()))
listening.listen()
while True:
    asking = listening.accept()[0]
    asking.recv(64)
    asking.sendall(b"+PONG")
"""

_STARTER = """
import sys
from pathlib import Path
from benchmarks import programs
with programs.redis_server(programs.Program("redis-server", Path(sys.argv[1]))) as socket:
    print(socket, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def server(tmp_path: Path) -> Path:
    path = tmp_path / "redis-server"
    path.write_text(_SERVER.format(python=sys.executable, pid=str(tmp_path / "pid")), "utf-8")
    path.chmod(0o755)
    return path


def _is_gone(server: Path) -> bool:
    return state_of(int(server.with_name("pid").read_text("ascii"))) in ("", "Z")


def test_an_installed_program_is_found_by_the_path(server: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{server.parent}:{os.environ['PATH']}")
    found = programs.find(Bench(smoke=True), "redis-server")
    assert found is not None
    assert (found.path, found.version) == (server, "server 1.0")


def test_what_was_fetched_once_is_found_without_fetching(server: Path, tmp_path: Path) -> None:
    place = tmp_path / "fetched" / "nowhere-server"
    (place / "usr/sbin").mkdir(parents=True)
    (place / "usr/lib").mkdir()
    (place / "usr/lib/libthat.so.1").touch()
    server.rename(place / "usr/sbin/nowhere-server")
    found = programs.locate("nowhere-server", tmp_path / "fetched", fetch=False)
    assert found.path == place / "usr/sbin/nowhere-server"
    assert found.environment["LD_LIBRARY_PATH"].split(":")[0] == str(place / "usr/lib")


def test_what_is_not_found_is_left_out_with_the_reason(tmp_path: Path) -> None:
    said: list[str] = []
    bench = Bench(smoke=True, say=said.append)
    assert programs.find(bench, "nowhere-server", fetched=tmp_path) is None
    assert bench.left_out == ["nowhere-server is not installed"]
    assert said == ["left out: nowhere-server is not installed"]


def test_without_apt_the_reason_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(programs, "_ALSO", str(tmp_path))
    with pytest.raises(programs.NotFoundError, match="without apt-get"):
        programs.locate("memcached", tmp_path / "fetched")


def test_a_server_ends_with_its_block_also_on_an_exception(server: Path) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        programs.redis_server(programs.Program("redis-server", server)) as socket,
    ):
        raise ZeroDivisionError
    assert _is_gone(server)
    assert not socket.parent.exists()


def test_a_server_ends_with_a_process_that_is_killed(server: Path, program: Callable[..., object]) -> None:
    starter = program(_STARTER, server)
    assert isinstance(starter, subprocess.Popen)
    assert starter.stdout is not None
    socket = Path(starter.stdout.readline().strip())
    assert socket.is_socket()
    starter.send_signal(signal.SIGKILL)
    starter.wait()
    assert wait_until(lambda: _is_gone(server), 30)
    shutil.rmtree(socket.parent)


def test_a_server_that_does_not_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "_START_SECONDS", 0.2)
    broken = tmp_path / "redis-server"
    broken.write_text("#!/bin/sh\necho out of luck\n", "utf-8")
    broken.chmod(0o755)
    with (
        pytest.raises(RuntimeError, match="out of luck"),
        programs.redis_server(programs.Program("redis-server", broken)),
    ):
        pass
