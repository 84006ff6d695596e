"""`python -m benchmarks --smoke`: every group works, whatever its figures; those are for `make bench`."""

import subprocess
import sys

from benchmarks.report import ROOT


def test_every_group_yields_results() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--smoke", "--no-write"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "results of 9 groups" in done.stdout
