"""Ends a private server, whoever is left to do it: its parent, or the watchdog once the parent is dead.

The watchdog is this file run on its own by a bare interpreter (`python -I -S reaper.py`): it must start in
milliseconds and must not load the application it watches. Hence one file, and the standard library only.
"""

import array
import ctypes
import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")
_SEGMENT = re.compile(r"(/dev/shm/PostgreSQL\.\d+)$")


@dataclasses.dataclass(frozen=True)
class Cluster:
    """What ending a server needs to know; plain values, because the watchdog gets them as JSON."""

    data_dir: str
    # The data go with the server: nothing of them needs to be written once more.
    temporary: bool


@dataclasses.dataclass(frozen=True)
class PidFile:
    """The lines of postmaster.pid that matter here."""

    pid: int
    segment_id: int | None
    ready: bool


def wait_until(fact: Callable[[], bool], timeout: float) -> bool:
    """Look for a fact until it holds; False when `timeout` seconds passed without it."""
    deadline = time.monotonic() + timeout
    while not fact():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def state_of(pid: int) -> str:
    """The one-letter state of a process (R, S, T, Z ...), or an empty string when there is none."""
    if _PROC.joinpath("self/stat").exists():
        try:
            # The name, in parentheses, may hold anything: the state comes after the last of them.
            return (_PROC / str(pid) / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()[0]
        except (OSError, IndexError):
            return ""
    return _ps("-o", "stat=", "-p", str(pid)).strip()[:1]


def is_running(pid: int) -> bool:
    """A zombie has ended: it only waits for its parent to read its exit code."""
    return state_of(pid) not in {"", "Z", "X"}


def command_of(pid: int) -> str:
    """The command line of a process; empty for a zombie and for a process that we may not look at."""
    if _PROC.joinpath("self/stat").exists():
        try:
            return (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            return ""
    return _ps("-ww", "-o", "command=", "-p", str(pid)).strip()


def works_on(pid: int, data_dir: str) -> bool:
    """Whether a process is at work in a data directory: a number in a file may by now be somebody else's."""
    if not is_running(pid):
        return False
    with suppress(OSError):
        if (_PROC / str(pid) / "cwd").readlink() == Path(data_dir):
            return True
    # For an instant of its start a program has no command line yet.
    wait_until(lambda: command_of(pid) != "" or not is_running(pid), 0.2)
    return data_dir in command_of(pid)


def read_pid_file(data_dir: str) -> PidFile | None:
    """None when there is no postmaster.pid or when it is not complete yet."""
    try:
        lines = (Path(data_dir) / "postmaster.pid").read_text("utf-8", "replace").splitlines()
        pid = int(lines[0])
    except (OSError, ValueError, IndexError):
        return None
    memory = lines[6].split() if len(lines) > 6 else []
    status = lines[7].strip() if len(lines) > 7 else ""
    return PidFile(pid, int(memory[1]) if len(memory) == 2 else None, status == "ready")


def postmaster_of(data_dir: str) -> int | None:
    """The process that serves a data directory now; None when it only left its file behind."""
    found = read_pid_file(data_dir)
    return found.pid if found and works_on(found.pid, data_dir) else None


def drop_stale_pid_file(data_dir: str) -> None:
    """Take away the two kinds of stale postmaster.pid that PostgreSQL would believe in.

    It asks only whether the number is taken, so a zombie or an unrelated process of the same user under that
    number keeps it from starting. Every other case, and the check that no old backend is left, stay its own.
    """
    found = read_pid_file(data_dir)
    if found is None or works_on(found.pid, data_dir):
        return
    if state_of(found.pid) == "Z" or command_of(found.pid):
        (Path(data_dir) / "postmaster.pid").unlink(missing_ok=True)


def family_of(pid: int) -> list[int]:
    """A process and everything below it, parents first."""
    parents: dict[int, int] = {}
    if _PROC.joinpath("self/stat").exists():
        for entry in _PROC.glob("[0-9]*/stat"):
            with suppress(OSError, IndexError, ValueError):
                fields = entry.read_text("utf-8", "replace").rpartition(")")[2].split()
                parents[int(entry.parent.name)] = int(fields[1])
    else:
        for line in _ps("-A", "-o", "pid=", "-o", "ppid=").splitlines():
            child, parent = line.split()
            parents[int(child)] = int(parent)
    family = [pid]
    for member in family:
        family.extend(child for child, parent in parents.items() if parent == member)
    return family


def kill_family(pid: int, timeout: float) -> bool:
    """SIGKILL a process and all its children; True once every one of them has ended.

    The parent is frozen first: a postmaster that sees one child die starts others before its own turn comes.
    """
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: state_of(pid) in {"", "T", "Z", "X"}, 1)
    family = family_of(pid)
    for member in family:
        with suppress(ProcessLookupError):
            os.kill(member, signal.SIGKILL)
    return wait_until(lambda: not any(is_running(member) for member in family), timeout)


def segments_of(pids: Iterable[int]) -> set[str]:
    """Files of dynamic shared memory that processes use; after SIGKILL nobody else would take them away."""
    found: set[str] = set()
    for pid in pids:
        with suppress(OSError):
            for line in (_PROC / str(pid) / "maps").read_text("utf-8", "replace").splitlines():
                match = _SEGMENT.search(line)
                if match:
                    found.add(match[1])
    return found


def attached(segment_id: int) -> int | None:
    """How many processes hold a System V segment; None when it is gone or when this system does not tell."""
    with suppress(OSError, ValueError):
        head, *rows = (_PROC / "sysvipc/shm").read_text("ascii").splitlines()
        names = head.split()
        for row in rows:
            fields = dict(zip(names, row.split(), strict=False))
            if int(fields["shmid"]) == segment_id:
                return int(fields["nattch"])
    return None


def wipe_shared_memory(data_dir: str, segments: Iterable[str]) -> None:
    """Give back the shared memory of a server that was killed and will not start again.

    Only a crash leaves postmaster.pid behind; it names the System V segment that marks the directory as used.
    """
    for segment in {found for start in segments for found in _with_those_named_in(Path(start))}:
        segment.unlink(missing_ok=True)
    crashed = read_pid_file(data_dir)
    if crashed and crashed.segment_id is not None and attached(crashed.segment_id) == 0:
        remove_id = 0  # IPC_RMID, the same number on Linux, macOS and the BSDs
        ctypes.CDLL(None).shmctl(crashed.segment_id, remove_id, None)


def _with_those_named_in(segment: Path) -> set[Path]:
    # A postmaster maps one segment, which lists the numbers of those that the others make. Its layout differs
    # between versions: every word counts that is the number of a file of the same owner.
    try:
        owner, words = segment.stat().st_uid, array.array("I", segment.read_bytes())
    except (OSError, ValueError):
        return set()
    others = {segment.with_name(f"PostgreSQL.{word}") for word in words}
    return {segment} | {other for other in others if other.exists() and other.stat().st_uid == owner}


def remove(directory: str, timeout: float = 10) -> None:
    """Remove a directory in which a dying process may write a last file; OSError when that does not help."""

    def gone() -> bool:
        shutil.rmtree(directory, ignore_errors=True)
        return not os.path.lexists(directory)

    if not wait_until(gone, timeout):
        shutil.rmtree(directory)


def stop(cluster: Cluster, mode: str, timeout: float) -> None:
    """Stop the postmaster of a data directory, by force if it does not obey; fine when none runs.

    Without pg_ctl, which waits for the file postmaster.pid to go: that of a postmaster which dies meanwhile
    stays. Which signal asks for what: PostgreSQL's manual, "Shutting Down the Server".
    """
    for step in dict.fromkeys([mode, "immediate"]):
        pid = postmaster_of(cluster.data_dir)
        if pid is None:
            return
        _ask_to_end(pid, signal.SIGINT if step == "fast" else signal.SIGQUIT, timeout)
    pid = postmaster_of(cluster.data_dir)
    if pid is not None:
        segments = segments_of([pid])
        kill_family(pid, timeout)
        if cluster.temporary:
            wipe_shared_memory(cluster.data_dir, segments)


def _ask_to_end(pid: int, how: signal.Signals, timeout: float) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, how)
    wait_until(lambda: not is_running(pid), timeout)


def clean_up(cluster: Cluster, pids: Iterable[int], segments: set[str], directories: Iterable[str]) -> None:
    """What is left to do for a dead parent: the server, whatever was just being started, the directories."""
    stop(cluster, "immediate" if cluster.temporary else "fast", timeout=30)
    for pid in pids:
        if works_on(pid, cluster.data_dir):
            segments |= segments_of([pid])
            kill_family(pid, timeout=10)
    if cluster.temporary:
        wipe_shared_memory(cluster.data_dir, segments)
    for directory in directories:
        with suppress(OSError):
            remove(directory)


def watch(cluster: Cluster) -> None:
    """Read what the parent tells until it says release or, in whatever way, is gone: the pipe ends then."""
    # Whoever ends the parent's group with a signal ends the parent, and that is what we wait for.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    pids: list[int] = []
    segments: set[str] = set()
    directories: dict[str, None] = {}
    for line in sys.stdin:
        word, value = json.loads(line)
        if word == "release":
            return
        if word == "process":
            pids.append(value)
        elif word == "segment":
            segments.add(value)
        elif word == "remove":
            directories[value] = None
        elif word == "keep":
            directories.pop(value, None)
    clean_up(cluster, pids, segments, directories)


def _ps(*arguments: str) -> str:
    # By name, since its place differs; only systems without /proc need it.
    return subprocess.run(["ps", *arguments], capture_output=True, text=True, check=False).stdout  # noqa: S607


if __name__ == "__main__":
    watch(Cluster(**json.loads(sys.argv[1])))
