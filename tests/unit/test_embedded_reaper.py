"""What the reaper believes about processes and about the files that servers leave."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from meshcache_pg.embedded import reaper


def test_a_process_that_never_was() -> None:
    nobody = 2**31 - 1
    assert (reaper.state_of(nobody), reaper.command_of(nobody)) == ("", "")
    assert not reaper.is_running(nobody)
    assert not reaper.works_on(nobody, "/")


def test_a_process_whose_name_looks_like_the_rest_of_the_line(tmp_path: Path) -> None:
    program = tmp_path / "a) Z ("
    program.symlink_to("/bin/cat")
    with subprocess.Popen([program], stdin=subprocess.PIPE) as process:
        assert reaper.is_running(process.pid)
        assert reaper.family_of(os.getpid()).count(process.pid) == 1


@pytest.mark.parametrize("proc", ["/proc", "/nowhere"])
def test_with_and_without_proc(proc: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if proc == "/proc" and not Path("/proc/self/stat").exists():
        pytest.skip("this system has no /proc")
    if proc == "/nowhere" and reaper._ps("-A") == "":
        pytest.skip("this system has no ps")
    monkeypatch.setattr(reaper, "_PROC", Path(proc))
    with subprocess.Popen(
        ["/bin/sh", "-c", "read line; exit", str(tmp_path)], stdin=subprocess.PIPE
    ) as process:
        assert reaper.is_running(process.pid)
        assert reaper.works_on(process.pid, str(tmp_path))
        assert not reaper.works_on(process.pid, str(tmp_path / "other"))
        assert process.pid in reaper.family_of(os.getpid())
        assert reaper.kill_family(process.pid, timeout=10)
        assert reaper.state_of(process.pid) == "Z"
        assert not reaper.is_running(process.pid)
        assert not reaper.works_on(process.pid, str(tmp_path))


@pytest.mark.parametrize("text", ["", "\n", "many\n", "12"])
def test_a_pid_file_that_is_being_written(tmp_path: Path, text: str) -> None:
    (tmp_path / "postmaster.pid").write_text(text)
    found = reaper.read_pid_file(str(tmp_path))
    assert found == (reaper.PidFile(12, None, ready=False) if text == "12" else None)


def test_a_pid_file_that_is_complete(tmp_path: Path) -> None:
    lines = ["12", str(tmp_path), "1700000000", "5432", "/s", "", " 1234    77", "ready   "]
    (tmp_path / "postmaster.pid").write_text("\n".join(lines) + "\n")
    assert reaper.read_pid_file(str(tmp_path)) == reaper.PidFile(12, 77, ready=True)


def test_a_pid_file_of_a_process_that_is_gone_is_left_to_postgresql(tmp_path: Path) -> None:
    (tmp_path / "postmaster.pid").write_text(f"{2**31 - 1}\n")
    reaper.drop_stale_pid_file(str(tmp_path))
    assert (tmp_path / "postmaster.pid").exists()


def test_a_pid_file_of_a_process_at_work_there_stays(tmp_path: Path) -> None:
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, cwd=tmp_path) as process:
        (tmp_path / "postmaster.pid").write_text(f"{process.pid}\n")
        reaper.drop_stale_pid_file(str(tmp_path))
        assert reaper.postmaster_of(str(tmp_path)) == process.pid


def test_a_segment_that_never_was() -> None:
    assert reaper.attached(2**31 - 1) is None


def test_a_fact_that_never_comes_true_has_an_end() -> None:
    assert not reaper.wait_until(lambda: False, timeout=0)


def test_the_watchdog_loads_nothing_of_the_application() -> None:
    code = f"import runpy, sys; runpy.run_path({reaper.__file__!r}); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    )
    assert not [name for name in done.stdout.split() if name.startswith("meshcache_pg")]
