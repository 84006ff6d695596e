"""Ties a server to the life of the process that started it, also when that process gets SIGKILL.

A watchdog of ours reads a pipe whose other end only this process holds; the pipe ends when the process does.
That works on every POSIX system, unlike a signal on the parent's death, and needs no thread.
"""

import dataclasses
import json
import os
import subprocess
import sys
import weakref
from collections.abc import Iterable
from contextlib import suppress
from typing import IO, cast

from meshcache_pg.embedded import reaper
from meshcache_pg.errors import EmbeddedServerError

_open: "weakref.WeakSet[Lifeline]" = weakref.WeakSet()


class Lifeline:
    """The parent's end of the pipe."""

    def __init__(self, cluster: reaper.Cluster, remove: Iterable[str]) -> None:
        # Not inheritable by programs that this process starts (PEP 446); forks are handled below.
        reading, self._writing = os.pipe()
        try:
            self._watchdog = subprocess.Popen(
                [sys.executable, "-I", "-S", reaper.__file__, json.dumps(dataclasses.asdict(cluster))],
                stdin=reading,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd="/",
                # Ctrl-C reaches the whole group of the terminal; the watchdog has to outlive that.
                start_new_session=True,
            )
        except OSError:
            os.close(self._writing)
            raise
        finally:
            os.close(reading)
        _open.add(self)
        self._close_at_end = weakref.finalize(self, os.close, self._writing)
        with cast("IO[bytes]", self._watchdog.stdout) as answers:
            answer = answers.readline()
        if answer != b"ready\n":
            self.release()
            raise EmbeddedServerError(
                f"the watchdog of the private server does not start under {sys.executable}",
                hint="start this from a program that a plain Python interpreter runs",
            )
        for directory in remove:
            self.tell("remove", directory)

    def tell(self, word: str, value: object) -> None:
        """What the watchdog must know: `process` and its id, `remove` or `keep` or `segment` and a path."""
        try:
            os.write(self._writing, json.dumps([word, value]).encode() + b"\n")
        except BrokenPipeError:
            raise EmbeddedServerError(
                "the watchdog of the private server has been killed", hint="start the server again"
            ) from None

    def release(self) -> None:
        """Nothing is left to clean up."""
        with suppress(EmbeddedServerError):
            self.tell("release", None)
        self._close_at_end()
        self._watchdog.wait()

    def forget(self) -> None:
        """In a forked child: its copy of the pipe must not keep the server alive."""
        self._close_at_end()


def _forget_all() -> None:
    for lifeline in list(_open):
        lifeline.forget()


os.register_at_fork(after_in_child=_forget_all)
