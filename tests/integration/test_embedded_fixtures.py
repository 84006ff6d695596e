"""The fixtures of fix_db, seen from outside: pytest runs one small test with them, in another process."""

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from meshcache_pg.embedded import Installation, PrivateServer, find_installations
from tests.fixtures.fix_db import DSN_VARIABLE, MAJORS_VARIABLE, Database
from tests.fixtures.fix_embedded import IMPORT_PATH

# Every test is a whole run of pytest.
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SMALL = f"{__file__}::test_a_database_is_fresh"

# A machine without PostgreSQL, as far as finding goes.
BARE = """
import sys
from pathlib import Path
from meshcache_pg.embedded import installations
installations._PLACES = ()
installations._wheel_bindir = lambda: None
import pytest
sys.exit(pytest.main(sys.argv[1:]))
"""


def run(*arguments: str, code: str | None = None, **environment: str) -> "subprocess.CompletedProcess[str]":
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("MESHCACHE_", "PYTEST_"))
    }
    start = ["-m", "pytest"] if code is None else ["-c", code]
    return subprocess.run(
        [sys.executable, *start, "-p", "no:cacheprovider", "-rA", SMALL, *arguments],
        env=clean | {"PYTHONPATH": IMPORT_PATH} | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def passed(done: "subprocess.CompletedProcess[str]") -> set[str]:
    """The ids of the parameters for which the small test passed."""
    assert done.returncode == 0, done.stdout + done.stderr
    return {
        line.partition("[")[2].rstrip("]") for line in done.stdout.splitlines() if line.startswith("PASSED")
    }


def test_a_database_is_fresh(db: Database) -> None:
    with db.connect() as connection, db.engine().connect() as other:
        assert connection.info.dbname == db.name
        assert other.engine.url.drivername == "postgresql+psycopg"
        assert other.engine.url.database == db.name
        row = connection.execute(
            "select count(*) from pg_class where relnamespace = 'public'::regnamespace"
        ).fetchone()
        assert row == (0,)
        assert connection.info.server_version // 10_000 == db.server.major
        connection.execute("create table t ()")


def test_on_a_given_server_nothing_is_left(cluster: PrivateServer) -> None:
    assert passed(run(**{DSN_VARIABLE: cluster.dsn()})) == {"given"}
    with psycopg.connect(cluster.dsn()) as connection:
        names = connection.execute("select datname from pg_database order by 1").fetchall()
    assert names == [("postgres",), ("template0",), ("template1",)]


def test_all_majors_without_a_choice() -> None:
    done = run()
    assert passed(done) == {f"pg{one.major}" for one in find_installations()}
    for one in find_installations():
        assert f"postgresql: {one}" in done.stdout


def test_a_choice_of_majors_by_option_and_by_environment(installation: Installation) -> None:
    major = str(installation.major)
    assert passed(run("--pg", major)) == {f"pg{major}"}
    assert passed(run(**{MAJORS_VARIABLE: major})) == {f"pg{major}"}
    assert passed(run("--pg", major, **{MAJORS_VARIABLE: "1"})) == {f"pg{major}"}


@pytest.mark.parametrize("choice", ["9", "18,9", "new"])
def test_a_choice_that_is_not_here_is_an_error(choice: str) -> None:
    done = run("--pg", choice)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert f"asks for PostgreSQL '{choice}'; found here: " in done.stderr


def test_without_any_postgresql_the_run_fails_and_says_what_to_do() -> None:
    done = run(code=BARE, PATH="/nowhere")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "postgresql: none found" in done.stdout
    assert "found no PostgreSQL" in done.stdout
    assert "pip install 'meshcache-pg[embedded]', or install PostgreSQL" in done.stdout
    assert f"; or set {DSN_VARIABLE}" in done.stdout


def test_workers_of_xdist_do_not_meet() -> None:
    assert passed(run("-n", "2")) == {f"pg{one.major}" for one in find_installations()}


def test_a_given_server_over_tcp_without_another_one(installation: Installation) -> None:
    with PrivateServer(installation, settings={"fsync": "off"}, port=0) as given:
        assert passed(run(code=BARE, PATH="/nowhere", **{DSN_VARIABLE: given.tcp_dsn()})) == {"given"}
