"""`meshcache demo` from the outside: one command in an empty directory, which leaves nothing behind."""

import json
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from meshcache_pg.embedded import Installation
from tests.fixtures.fix_embedded import IMPORT_PATH, eventually

COMMAND = ("-m", "meshcache_pg", "demo", "--size", "small", "--pairs", "40")

# Longest time that a broken demo may take.
DEADLINE_SECONDS = 240

AGGREGATES = {"workflow_card", "run_state", "run_detail", "workflow_stats", "queue_stats"}
VIEWS = AGGREGATES | {"webhook_route", "workflow_definition", "node_config", "run_card"}


@pytest.fixture
def place(open_dir: Path) -> Iterator[Path]:
    """A working directory with a directory for temporary files, which must both be left as they were."""
    (open_dir / "tmp").mkdir(mode=0o777)
    (open_dir / "tmp").chmod(0o777)
    yield open_dir
    assert [path.name for path in open_dir.iterdir()] == ["tmp"]
    assert list((open_dir / "tmp").iterdir()) == []


def environment(place: Path) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PG", "MESHCACHE", "DATABASE"))
    }
    return kept | {"PYTHONPATH": IMPORT_PATH, "TMPDIR": str(place / "tmp"), "COLUMNS": "80"}


def run(
    place: Path, *options: str, python: str = sys.executable, **more: Any
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [python, *COMMAND, *options],
        cwd=place,
        env=environment(place),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
        **more,
    )


def processes_with(word: str) -> list[str]:
    """Command lines of all processes that name `word`."""
    listing = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listing.splitlines() if word in line]


def test_json_has_all_figures_and_nothing_is_left(place: Path, installation: Installation) -> None:
    done = run(place, "--json", "--pg", str(installation.major))
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["schema_version"] == 1
    assert figures["correct"] is True
    assert figures["postgresql"] == installation.version
    reads = figures["reads"]
    assert {read["view"] for read in reads} == VIEWS
    assert {read["view"] for read in reads if read["heavy"]} == AGGREGATES
    assert all(read["equal"] and read["equal_pairs"] == read["pairs"] > 0 for read in reads)
    assert all(read["hits"] == read["pairs"] for read in reads)
    assert [seen["origin"] for seen in figures["write"]] == [
        "miss",
        "hit",
        "stale",
        "hit",
        "stale",
        "stale",
        "hit",
        "stale",
    ]
    assert [seen["origin"] for seen in figures["rollback"]] == ["hit", "stale", "hit"]
    assert figures["crash"]["cold"][0]["origin"] == "bypass"
    assert {seen["origin"] for seen in figures["crash"]["cold"]} <= {"bypass", "miss"}
    assert {seen["origin"] for seen in figures["crash"]["warm"]} == {"hit"}
    assert all(one["equal"] and one["compared"] > 0 for one in figures["verify"])
    assert {one["name"] for one in figures["stats"]} == VIEWS
    assert processes_with(str(place)) == []


def test_plain_output_fits_80_columns(place: Path, installation: Installation) -> None:
    done = run(place, "--pg", str(installation.major))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in done.stdout
    assert [line.split(".")[0] for line in lines if line[:1].isdigit() and ". " in line[:4]][:3] == [
        "1",
        "2",
        "3",
    ]
    assert not any("NO" in line.split() for line in lines)
    assert done.stderr == ""


def start(place: Path, *options: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, *COMMAND, *options],
        cwd=place,
        env=environment(place),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )


def lines_until(process: "subprocess.Popen[str]", beginning: str) -> str:
    """What the process prints up to and with the first line that begins so."""
    assert process.stdout is not None
    text = ""
    for line in process.stdout:
        text += line
        if line.startswith(beginning):
            break
    return text


@pytest.mark.slow
def test_ctrl_c_leaves_nothing(place: Path) -> None:
    # The second chapter begins when the server is up, and takes a while.
    with start(place, "--size", "demo") as process:
        assert lines_until(process, "2.")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 130
    eventually(lambda: processes_with(str(place)) == [], "the server has gone")


@pytest.mark.slow
def test_keep_serves_until_ctrl_c(place: Path) -> None:
    with start(place, "--json", "--keep") as process:
        dsn = json.loads(lines_until(process, "}"))["dsn"]
        with psycopg.connect(dsn) as connection:
            assert connection.execute("select count(*) from meshcache.cached_view").fetchone() == (
                len(VIEWS),
            )
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 0
    assert processes_with(str(place)) == []


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_an_unprivileged_user_can_run_it(place: Path) -> None:
    entry = pwd.getpwnam("nobody")
    user = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    done = run(place, "--json", python=python_for(place, user), **user)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["correct"] is True
    assert processes_with(str(place)) == []


def python_for(place: Path, user: dict[str, Any]) -> str:
    """An interpreter of this version that the user can run, and that finds this package."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/bin/{name}", f"/usr/local/bin/{name}"):
        try:
            subprocess.run(
                [python, "-c", "import meshcache_pg.demo"],
                env=environment(place),
                cwd="/",
                check=True,
                capture_output=True,
                **user,
            )
        except (OSError, subprocess.CalledProcessError):
            continue
        return python
    pytest.skip(f"user nobody can run no {name} that finds this package")


def test_a_wrong_size_is_refused_at_once(place: Path) -> None:
    done = run(place, "--size", "huge")
    assert done.returncode == 3
    assert "'huge' is no size" in done.stderr
