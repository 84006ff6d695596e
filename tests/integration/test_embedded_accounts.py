"""Who runs a private server: root's is somebody else's process, and an ordinary user needs nobody's help."""

import os
import pwd
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from meshcache_pg.embedded import Installation, PrivateServer, find_installations, reaper
from meshcache_pg.embedded.account import Account, default_account
from meshcache_pg.embedded.relocation import reachable
from meshcache_pg.errors import EmbeddedServerError
from tests.fixtures.fix_db import TEST_SETTINGS
from tests.fixtures.fix_embedded import Program, said

# Many servers, and none of what they show changes with the cache.
pytestmark = pytest.mark.slow

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be or become another user")


def nobody() -> Account:
    entry = pwd.getpwnam("nobody")
    return Account("nobody", entry.pw_uid, entry.pw_gid)


def python_for(account: Account) -> str:
    """An interpreter of this version that the account can run; ours may be in a directory of root's."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/bin/{name}", f"/usr/local/bin/{name}"):
        if account.can("-x", Path(python).resolve()) and account.can("-x", Path(python)):
            return python
    pytest.skip(f"user {account.name} can run no {name}")


@as_root
def test_the_server_of_root_is_not_roots_process(cluster: PrivateServer) -> None:
    uid = default_account().uid
    assert uid
    family = reaper.family_of(cluster.pid or 0)
    assert len(family) > 1
    assert {Path(f"/proc/{pid}").stat().st_uid for pid in family if reaper.is_running(pid)} == {uid}
    assert cluster.data_dir.stat().st_uid == uid
    assert Path("/proc", str(cluster.pid)).stat().st_gid != 0


@as_root
def test_what_root_writes_the_server_cannot_exchange(cluster: PrivateServer) -> None:
    base = cluster.data_dir.parent
    assert base.stat().st_uid == 0
    assert not default_account().can("-w", base)


@as_root
def test_a_directory_is_served_by_its_owner(installation: Installation, open_dir: Path) -> None:
    data_dir = open_dir / "data"
    PrivateServer(installation, data_dir=data_dir, settings=TEST_SETTINGS).start().stop()
    owner = nobody()
    for path in [data_dir, *data_dir.rglob("*")]:
        owner.own(path)
    with PrivateServer(data_dir=data_dir, settings=TEST_SETTINGS) as server:
        assert Path(f"/proc/{server.pid}").stat().st_uid == owner.uid


@as_root
def test_a_directory_of_roots_is_refused(installation: Installation, open_dir: Path) -> None:
    (open_dir / "PG_VERSION").write_text(f"{installation.major}\n")
    with pytest.raises(EmbeddedServerError, match="belongs to root") as refused:
        PrivateServer(installation, data_dir=open_dir).start()
    assert refused.value.hint == f"give it away: chown -R {default_account().name} {open_dir}"


@as_root
def test_a_closed_parent_is_refused_and_stays_closed(installation: Installation, open_dir: Path) -> None:
    closed = open_dir / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(EmbeddedServerError, match="cannot reach"):
        PrivateServer(installation, data_dir=closed / "data").start()
    assert closed.stat().st_mode & 0o777 == 0o700
    assert list(closed.iterdir()) == []


@as_root
def test_a_closed_tmpdir_is_passed_over(
    installation: Installation, open_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = open_dir / "closed"
    closed.mkdir(mode=0o700)
    monkeypatch.setattr("tempfile.tempdir", str(closed))
    with PrivateServer(installation, settings=TEST_SETTINGS) as server:
        assert not server.data_dir.is_relative_to(closed)
    assert closed.stat().st_mode & 0o777 == 0o700


@as_root
def test_an_ordinary_user_needs_no_help(installation: Installation, program: Program) -> None:
    account = nobody()
    if not account.can("-x", installation.bindir / "postgres"):
        pytest.skip(f"user {account.name} cannot reach {installation.bindir}")
    code = """
import sys
from meshcache_pg.embedded import PrivateServer, find_installation
with PrivateServer(find_installation(int(sys.argv[1])), settings={"fsync": "off"}, port=0) as server:
    server.kill()
    server.start()
    server.create_database("mine")
    print(server.pid, server.data_dir, server.dsn("mine"), flush=True)
    sys.stdin.read()
print("gone", flush=True)
"""
    user = program(
        code,
        installation.major,
        python=python_for(account),
        user=account.uid,
        group=account.gid,
        extra_groups=[],
    )
    pid, data_dir, dsn = said(user)
    for path in (Path("/proc", pid), Path(data_dir)):
        assert path.stat().st_uid == account.uid
    with psycopg.connect(dsn) as connection:  # root reaches everything
        assert connection.execute("select current_database()").fetchone() == ("mine",)
    assert user.stdin is not None
    user.stdin.close()
    assert said(user) == ["gone"]
    assert not reaper.is_running(int(pid))
    assert not Path(data_dir).parent.exists()


@as_root
def test_another_users_directory_is_refused(
    installation: Installation, program: Program, open_dir: Path
) -> None:
    data_dir = open_dir / "data"
    PrivateServer(installation, data_dir=data_dir, settings=TEST_SETTINGS).start().stop()
    data_dir.chmod(0o755)
    (data_dir / "PG_VERSION").chmod(0o644)
    account = nobody()
    code = """
import sys
from meshcache_pg.embedded import PrivateServer
from meshcache_pg.errors import EmbeddedServerError
try:
    PrivateServer(data_dir=sys.argv[1]).start()
except EmbeddedServerError as error:
    print(error)
"""
    user = program(
        code, data_dir, python=python_for(account), user=account.uid, group=account.gid, extra_groups=[]
    )
    assert "belongs to another user" in " ".join(said(user))


@pytest.fixture
def closed_wheel(open_dir: Path) -> Installation:
    """The wheel in a virtual environment below a directory of root's, as /root is."""
    for found in find_installations():
        if found.source == "wheel":
            package = found.bindir.parent.parent
            closed = open_dir / "closed"
            closed.mkdir(mode=0o700)
            for part in (package, package.with_name(f"{package.name}.libs")):
                if part.exists():
                    shutil.copytree(part, closed / part.name)
            return Installation(closed / found.bindir.relative_to(package.parent), found.version, "wheel")
    pytest.skip("the wheel is not installed, or the system has a newer minor version of its major")


@as_root
def test_a_wheel_out_of_reach_is_copied_once(closed_wheel: Installation, open_dir: Path) -> None:
    cache = open_dir / "cache"
    with ThreadPoolExecutor(2) as both:  # at once
        copies = set(
            both.map(lambda account: reachable(closed_wheel, account, (cache,)), [default_account()] * 2)
        )
    assert len(copies) == 1
    assert copies == {reachable(closed_wheel, default_account(), (cache,))}
    assert len(list(cache.iterdir())) == 1
    (copy,) = copies
    assert cache in copy.bindir.parents
    assert all(path.stat().st_uid == 0 and not path.stat().st_mode & 0o022 for path in cache.rglob("*"))
    with PrivateServer(copy, settings=TEST_SETTINGS) as server, psycopg.connect(server.dsn()) as connection:
        connection.execute("create extension pg_trgm")  # libraries and share files came along
    assert (open_dir / "closed").stat().st_mode & 0o777 == 0o700


@as_root
def test_a_wheel_within_reach_is_used_where_it_is(closed_wheel: Installation, open_dir: Path) -> None:
    (open_dir / "closed").chmod(0o755)
    assert reachable(closed_wheel, default_account(), (open_dir / "cache",)) == closed_wheel
    assert not (open_dir / "cache").exists()


@as_root
def test_other_contents_are_another_copy(closed_wheel: Installation, open_dir: Path) -> None:
    caches = (open_dir / "cache",)
    first = reachable(closed_wheel, default_account(), caches)
    with (closed_wheel.bindir / "psql").open("ab") as psql:
        psql.write(b"\0")
    assert reachable(closed_wheel, default_account(), caches) != first


@as_root
@pytest.mark.parametrize("kind", ["foreign", "writable", "link"])
def test_a_cache_that_others_may_have_prepared_is_not_trusted(
    closed_wheel: Installation, open_dir: Path, kind: str
) -> None:
    trap, cache = open_dir / "trap", open_dir / "cache"
    trap.mkdir()
    if kind == "foreign":
        nobody().own(trap)
    elif kind == "writable":
        trap.chmod(0o777)
    else:
        trap.rmdir()
        (open_dir / "elsewhere").mkdir()
        trap.symlink_to(open_dir / "elsewhere")
    found = reachable(closed_wheel, default_account(), (trap, cache))
    assert cache in found.bindir.parents
    with pytest.raises(EmbeddedServerError, match="no place for a copy"):
        reachable(closed_wheel, default_account(), (trap,))


@as_root
def test_system_programs_out_of_reach_are_an_error(closed_wheel: Installation) -> None:
    system = Installation(closed_wheel.bindir, closed_wheel.version, "system")
    with pytest.raises(EmbeddedServerError, match="cannot reach the programs"):
        reachable(system, default_account(), ())


def test_the_account_is_not_root() -> None:
    done = subprocess.run(
        ["/usr/bin/id", "-u"],
        user=default_account().uid,
        group=default_account().gid,
        extra_groups=default_account().extra_groups,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() != "0"
