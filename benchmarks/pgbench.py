"""Runs PostgreSQL's own pgbench, which loads the server from outside Python, and reads what it reports."""

import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from psycopg.conninfo import conninfo_to_dict

from benchmarks.bench import median
from meshcache_pg.embedded.installations import find_installation

Protocol = Literal["simple", "extended", "prepared"]

_TPS: Final = re.compile(r"^tps = ([0-9.]+)", re.MULTILINE)
_FAILED: Final = re.compile(r"^number of failed transactions: ([0-9]+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Load:
    """A script, and how it is sent; variables are what the script calls `:name`."""

    script: str
    clients: int = 4
    protocol: Protocol = "prepared"
    variables: Mapping[str, int] | None = None
    seed: int = 1


class PgbenchFailed(RuntimeError):
    """pgbench ended with an error, which is the message."""


def program() -> Path:
    """pgbench of the newest installation: it talks to servers of every major."""
    return find_installation().bindir / "pgbench"


def throughput(dsn: str, load: Load, seconds: float) -> float:
    """Scripts per second, without the time that connecting takes.

    Raises PgbenchFailed, also when a single script failed.
    """
    found = _TPS.search(_run(dsn, load, f"--time={max(1, round(seconds))}"))
    if found is None:
        raise PgbenchFailed("no rate was reported")
    return float(found[1])


def complete(dsn: str, load: Load, scripts: int) -> None:
    """Run so many scripts with each client; raises PgbenchFailed as `throughput` does."""
    _run(dsn, load, f"--transactions={scripts}")


def _run(dsn: str, load: Load, until: str) -> str:
    where = conninfo_to_dict(dsn)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    for name, variable in (
        ("host", "PGHOST"),
        ("port", "PGPORT"),
        ("user", "PGUSER"),
        ("dbname", "PGDATABASE"),
    ):
        if where.get(name) is not None:
            environment[variable] = str(where[name])
    with tempfile.NamedTemporaryFile("w", suffix=".sql", encoding="utf-8") as script:
        script.write(load.script)
        script.flush()
        done = subprocess.run(
            [
                str(program()),
                "--no-vacuum",
                f"--client={load.clients}",
                f"--jobs={min(load.clients, os.cpu_count() or 1)}",
                f"--protocol={load.protocol}",
                f"--random-seed={load.seed}",
                *(f"--define={name}={value}" for name, value in (load.variables or {}).items()),
                f"--file={script.name}",
                until,
            ],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    failed = _FAILED.search(done.stdout)
    if done.returncode or (failed and int(failed[1])):
        raise PgbenchFailed(done.stderr.strip() or done.stdout.strip())
    return done.stdout


def in_turns(sides: Sequence[Callable[[], float]], repetitions: int) -> list[list[float]]:
    """Each side so many times, in turns whose order changes; the figures of each side."""
    figures: list[list[float]] = [[] for _ in sides]
    for turn in range(repetitions):
        order = range(len(sides))
        for n in order if turn % 2 == 0 else reversed(order):
            figures[n].append(sides[n]())
    return figures


def ratio(of: Sequence[float], to: Sequence[float]) -> float:
    """The median of `of` in terms of that of `to`."""
    return median(of) / median(to)
