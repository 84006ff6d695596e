"""What may happen to a private server: crashes, leftovers of crashes, and the death of whoever started it."""

import os
import signal
import subprocess
import threading
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from meshcache_pg.embedded import Installation, PrivateServer, reaper
from meshcache_pg.embedded.account import default_account
from meshcache_pg.errors import EmbeddedServerError
from tests.fixtures.fix_db import TEST_SETTINGS
from tests.fixtures.fix_embedded import DEADLINE_SECONDS, Program, eventually, said

# Starts a server and says its pid, its watchdog's pid and its data directory.
PARENT = """
import sys
from meshcache_pg.embedded import PrivateServer, find_installation
installation = find_installation(int(sys.argv[1]))
server = PrivateServer(installation, data_dir=sys.argv[2] or None, settings={"fsync": "off"}).start()
watchdog = server._place.lifeline._watchdog.pid
print(server.pid, watchdog, server.data_dir, flush=True)
"""


def count(dsn: str, table: str) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(sql.SQL("select count(*) from {}").format(sql.Identifier(table))).fetchone()
    assert row is not None
    return int(row[0])


def test_after_a_kill_committed_rows_are_there_and_unlogged_ones_are_not(cluster: PrivateServer) -> None:
    dsn = cluster.dsn()
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("create table logged as select 1")
        connection.execute("create unlogged table unlogged as select 1")
        family = reaper.family_of(connection.info.backend_pid)
        assert cluster.pid is not None
        everyone = reaper.family_of(cluster.pid)
        assert set(family) < set(everyone)
        cluster.kill()
        assert not any(reaper.is_running(pid) for pid in everyone)
        assert not cluster.is_running
        with pytest.raises(psycopg.OperationalError):
            connection.execute("select 1")
    cluster.start()
    assert cluster.dsn() == dsn
    assert (count(dsn, "logged"), count(dsn, "unlogged")) == (1, 0)


def test_killing_again_and_again(cluster: PrivateServer) -> None:
    for _ in range(5):
        cluster.kill()
        cluster.kill()
        cluster.start()
    assert count(cluster.dsn(), "pg_database") == 3


@pytest.mark.skipif(not Path("/proc/sysvipc/shm").exists(), reason="this system does not list shared memory")
@pytest.mark.parametrize("whom", ["all", "postmaster"])
def test_a_killed_server_that_is_stopped_leaves_no_shared_memory(cluster: PrivateServer, whom: str) -> None:
    pid = cluster.pid
    assert pid is not None
    left = reaper.read_pid_file(str(cluster.data_dir))
    assert left is not None
    assert left.segment_id is not None
    with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
        # Statistics grow into a segment of their own.
        connection.execute("select pg_stat_get_numscans(oid) from pg_class")
        used = reaper.segments_of(reaper.family_of(pid))
        if whom == "all":
            cluster.kill()
        else:
            os.kill(pid, signal.SIGKILL)
    assert len(used) > 1
    cluster.stop()
    assert reaper.attached(left.segment_id) is None
    assert not [segment for segment in used if Path(segment).exists()]


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="this system does not tell pending signals"
)
def test_a_postmaster_that_dies_while_it_is_stopped_is_not_waited_for(cluster: PrivateServer) -> None:
    pid = cluster.pid
    assert pid is not None
    cluster._timeout = 2 * DEADLINE_SECONDS
    os.kill(pid, signal.SIGSTOP)
    stopping = threading.Thread(target=cluster.stop, daemon=True)
    stopping.start()
    eventually(lambda: is_pending(pid, signal.SIGINT), "it is asked to stop")
    os.kill(pid, signal.SIGKILL)
    stopping.join(DEADLINE_SECONDS)
    assert not stopping.is_alive()


def is_pending(pid: int, number: signal.Signals) -> bool:
    lines = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return bool(int(lines["ShdPnd"], 16) & 1 << number - 1)


def test_it_starts_at_once_after_somebody_killed_its_postmaster(cluster: PrivateServer) -> None:
    with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
        connection.execute("create table t as select 1")
        assert cluster.pid is not None
        os.kill(cluster.pid, signal.SIGKILL)
        eventually(lambda: not cluster.is_running, "the postmaster ends")
        cluster.start()
    assert count(cluster.dsn(), "t") == 1


def test_a_frozen_server_is_stopped_by_force(installation: Installation) -> None:
    server = PrivateServer(installation, settings=TEST_SETTINGS, timeout=60).start()
    data_dir, pid = server.data_dir, server.pid
    assert pid is not None
    server._timeout = 1  # for the steps of stopping
    os.kill(pid, signal.SIGSTOP)
    server.stop()
    assert not reaper.is_running(pid)
    assert not data_dir.parent.exists()


def crashed(installation: Installation, data_dir: Path) -> None:
    """A data directory as a crash leaves it."""
    server = PrivateServer(installation, data_dir=data_dir, settings=TEST_SETTINGS).start()
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute("create table t as select 1")
    server.kill()
    server.stop()
    assert (data_dir / "postmaster.pid").exists()


def recovers(installation: Installation, data_dir: Path) -> bool:
    with PrivateServer(installation, data_dir=data_dir, settings=TEST_SETTINGS) as server:
        return count(server.dsn(), "t") == 1


def test_a_crashed_directory_starts_again(installation: Installation, open_dir: Path) -> None:
    crashed(installation, open_dir / "data")
    assert recovers(installation, open_dir / "data")


@pytest.mark.parametrize("state", ["alive", "zombie"])
def test_a_stale_pid_file_that_names_somebody_else(
    installation: Installation, open_dir: Path, state: str
) -> None:
    data_dir = open_dir / "data"
    crashed(installation, data_dir)
    account = default_account()
    # Of the server's own user: PostgreSQL alone would believe that this is a postmaster.
    with subprocess.Popen(
        ["/bin/sh", "-c", "read -r line"],
        stdin=subprocess.PIPE,
        user=account.uid,
        group=account.gid,
        extra_groups=account.extra_groups,
    ) as stranger:
        if state == "zombie":
            assert stranger.stdin is not None
            stranger.stdin.close()
            eventually(lambda: reaper.state_of(stranger.pid) == "Z", "the process has ended")
        lines = (data_dir / "postmaster.pid").read_text().splitlines(keepends=True)
        (data_dir / "postmaster.pid").write_text("".join([f"{stranger.pid}\n", *lines[1:]]))
        assert reaper.postmaster_of(str(data_dir)) is None
        assert recovers(installation, data_dir)
        assert reaper.is_running(stranger.pid) == (state == "alive")


def test_a_zombie_postmaster_is_not_taken_for_alive(cluster: PrivateServer) -> None:
    pid = cluster.pid
    assert pid is not None
    assert cluster._process is not None
    os.kill(pid, signal.SIGKILL)
    eventually(
        lambda: reaper.state_of(pid) == "Z", "the postmaster has ended and nobody has asked for its exit code"
    )
    assert reaper.postmaster_of(str(cluster.data_dir)) is None
    assert not cluster.is_running


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_temporary_server_dies_with_its_parent(
    installation: Installation, program: Program, number: signal.Signals
) -> None:
    parent = program(PARENT + "sys.stdin.read()", installation.major, "")
    pid, watchdog, data_dir = said(parent)
    left = reaper.read_pid_file(data_dir)
    parent.send_signal(number)
    eventually(lambda: not reaper.is_running(int(pid)), "the server ends")
    eventually(lambda: not Path(data_dir).parent.exists(), "its directory is removed")
    eventually(lambda: not reaper.is_running(int(watchdog)), "the watchdog ends")
    assert left is not None
    assert left.segment_id is not None
    assert reaper.attached(left.segment_id) is None


def test_a_parent_that_forgets_to_stop_leaves_nothing(installation: Installation, program: Program) -> None:
    parent = program(PARENT, installation.major, "")
    pid, watchdog, data_dir = said(parent)
    eventually(lambda: not reaper.is_running(int(watchdog)), "the watchdog ends")
    assert not reaper.is_running(int(pid))
    assert not Path(data_dir).parent.exists()


def test_a_named_directory_survives_the_parents_death_in_good_order(
    installation: Installation, program: Program, open_dir: Path
) -> None:
    parent = program(PARENT + "sys.stdin.read()", installation.major, open_dir / "data")
    pid, watchdog, data_dir = said(parent)
    parent.kill()
    eventually(lambda: not reaper.is_running(int(watchdog)), "the watchdog ends")
    assert not reaper.is_running(int(pid))
    control = subprocess.run(
        [installation.program("pg_controldata"), data_dir],
        env={"LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "shut down\n" in control.stdout


def test_a_fork_does_not_keep_the_server_alive_and_may_not_touch_it(
    installation: Installation, program: Program
) -> None:
    fork = """
import os
from meshcache_pg.errors import EmbeddedServerError
child = os.fork()
if child == 0:
    try:
        server.stop()
    except EmbeddedServerError as error:
        print(os.getpid(), error, flush=True)
    sys.stdin.read()
    os._exit(0)
sys.stdin.read()
"""
    parent = program(PARENT + fork, installation.major, "")
    pid, _, data_dir = said(parent)
    fork_pid, *error = said(parent)
    assert " ".join(error) == f"this private server belongs to process {parent.pid}, not to its fork"
    assert reaper.is_running(int(pid))
    parent.kill()
    eventually(
        lambda: not Path(data_dir).parent.exists(), "the server is gone, though a fork of its parent lives"
    )
    assert reaper.is_running(int(fork_pid))


def test_ctrl_c_reaches_the_parent_alone(installation: Installation, program: Program) -> None:
    interrupted = """
try:
    print("waiting", flush=True)
    sys.stdin.read()
except KeyboardInterrupt:
    print(server.is_running, "shutdown request" in server.log_tail(), flush=True)
    server.stop()
    print("stopped", flush=True)
"""
    parent = program(PARENT + interrupted, installation.major, "", start_new_session=True)
    pid, watchdog, data_dir = said(parent)
    assert said(parent) == ["waiting"]
    os.killpg(parent.pid, signal.SIGINT)
    assert said(parent) == ["True", "False"]
    assert said(parent) == ["stopped"]
    assert not any(reaper.is_running(int(one)) for one in (pid, watchdog))
    assert not Path(data_dir).parent.exists()


def test_a_parent_killed_during_initdb_leaves_no_half_made_directory(
    installation: Installation, program: Program, open_dir: Path
) -> None:
    # An initdb that begins its work and then never goes on.
    bindir = open_dir / "bin"
    bindir.mkdir()
    for found in installation.bindir.iterdir():
        (bindir / found.name).symlink_to(found)
    (bindir / "initdb").unlink()
    (bindir / "initdb").write_text(
        '#!/bin/sh\nprintf x > "$2/PG_VERSION"\nmkfifo "$2/never"\nread line < "$2/never"\n'
    )
    (bindir / "initdb").chmod(0o755)
    code = """
import sys
from pathlib import Path
from meshcache_pg.embedded import Installation, PrivateServer
PrivateServer(Installation(Path(sys.argv[1]), sys.argv[2], "system"), data_dir=sys.argv[3]).start()
"""
    data_dir = open_dir / "data"
    parent = program(code, bindir, installation.version, data_dir)
    eventually((data_dir / "never").exists, "initdb is at work")
    family = reaper.family_of(parent.pid)
    assert len(family) > 2
    parent.kill()
    eventually(lambda: not data_dir.exists(), "the half-made directory is removed")
    eventually(lambda: not any(map(reaper.is_running, family)), "initdb ends")


def test_without_its_watchdog_a_server_still_stops(cluster: PrivateServer) -> None:
    assert cluster._place is not None
    data_dir, watchdog = cluster.data_dir, cluster._place.lifeline._watchdog
    watchdog.kill()
    watchdog.wait()
    with pytest.raises(EmbeddedServerError, match="watchdog"):
        cluster.restart()
    cluster.stop()
    assert not data_dir.parent.exists()
    cluster.start()  # with a new one
    assert count(cluster.dsn(), "pg_database") == 3


def test_an_interpreter_that_cannot_run_the_watchdog(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, open_dir: Path
) -> None:
    open_dir.chmod(0o1777)
    monkeypatch.setattr("tempfile.tempdir", str(open_dir))
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(EmbeddedServerError, match="does not start under /bin/false"):
        PrivateServer(installation).start()
    assert list(open_dir.iterdir()) == []
