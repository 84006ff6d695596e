"""`python -m tests.consistency.harness`: run on every PostgreSQL major that is found, report, exit 0 or 1."""

import argparse
import importlib
import json
import signal
import sys
from pathlib import Path
from random import SystemRandom

from meshcache_pg.embedded import Installation
from tests.consistency.harness.cached import Cached
from tests.consistency.harness.options import Options, Plant, chosen
from tests.consistency.harness.report import Report
from tests.consistency.harness.run import run
from tests.consistency.harness.subject import Subject
from tests.consistency.harness.trouble import quiet_logs

SUBJECTS = {"cache": Cached, "source": Subject}


def main() -> int:
    """The command."""
    arguments = _arguments()
    quiet_logs()
    # A shell starts its background jobs with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    installations = chosen(arguments.pg)
    if installations is None:
        return 2
    reports = [_run(arguments, installation) for installation in installations]
    if arguments.json:
        Path(arguments.json).write_text(
            json.dumps([report.as_json() for report in reports], indent=1) + "\n", "utf-8"
        )
    return 1 if any(report.failures for report in reports) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.consistency.harness", description=__doc__)
    parser.add_argument(
        "--minutes", type=float, default=2, help="on each PostgreSQL major (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, help="of all random choices; the default is a new one, and printed"
    )
    parser.add_argument("--pg", help="majors, such as 15,18 (default: all that are found)")
    parser.add_argument("--json", metavar="FILE", help="write the report there, too")
    parser.add_argument("--subject", choices=sorted(SUBJECTS), default="cache", help="who answers the reads")
    parser.add_argument("--workload", choices=("meshhook", "generated"), help="only one of the two")
    parser.add_argument(
        "--plant", action="append", default=[], metavar="MODULE:FUNCTION", help="break a rule first"
    )
    parser.add_argument("--no-pooler", action="store_true", help="leave PgBouncer out")
    parser.add_argument("--no-faults", action="store_true", help="kill and cut nothing")
    return parser.parse_args()


def _run(arguments: argparse.Namespace, installation: Installation) -> Report:
    seed = arguments.seed if arguments.seed is not None else SystemRandom().randrange(2**32)
    options = Options(
        seed=seed,
        seconds=arguments.minutes * 60,
        workloads=(arguments.workload,) if arguments.workload else Options.workloads,
        subject=SUBJECTS[arguments.subject](),
        plants=tuple(_plant(name) for name in arguments.plant),
        administrators=0 if arguments.plant else Options.administrators,
        pooler=not arguments.no_pooler,
        faults=not arguments.no_faults,
    )
    sys.stderr.write(f"PostgreSQL {installation.version}, seed {seed}\n")
    report = run(options, installation, lambda line: _say(f"{line}\n"))
    sys.stdout.write(report.as_text() + "\n")
    if report.failures:
        sys.stdout.write(
            f"\nto try again: make consistency PG={installation.major} SEED={seed}"
            f" MINUTES={arguments.minutes:g}\n"
            "(the same choices; how they interleave is up to the machine)\n"
        )
    sys.stdout.flush()
    return report


def _say(line: str) -> None:
    sys.stderr.write(line)
    sys.stderr.flush()


def _plant(name: str) -> Plant:
    module, _, function = name.partition(":")
    plant: Plant = getattr(importlib.import_module(module), function)
    return plant


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
