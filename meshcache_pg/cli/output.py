"""Everything the command prints: data to stdout, talk to stderr, and with --json one object for programs in
place of the data. Tables fit a terminal; everywhere else they are aligned columns, one line per row.
"""

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from meshcache_pg.cli.values import plain

SCHEMA_VERSION = 1

# Sooner than this a bar would only flicker.
BAR_AFTER_SECONDS = 1.0

Cell = str | Text


class _Console(Console):
    """A console that a closed pipe does not end."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        _silence_stdout()


def _silence_stdout() -> None:
    """The reader of stdout has gone (`| head`): the work is done, and nobody wants the rest of its report."""
    # At exit the interpreter flushes stdout once more, and would complain.
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


class Output:
    """Where one run of the command prints."""

    def __init__(self, *, as_json: bool = False, quiet: bool = False, no_color: bool = False) -> None:
        self.as_json = as_json
        self.quiet = quiet
        options: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False}
        if no_color:
            options["no_color"] = True
        self._out = _Console(**options)
        self._err = _Console(stderr=True, **options)

    @property
    def asks(self) -> bool:
        """Whether somebody is there to answer a question."""
        return sys.stdin is not None and sys.stdin.isatty() and self._err.is_terminal

    def say(self, text: Cell) -> None:
        """One line of talk, unless --quiet."""
        if not self.quiet:
            self._err.print(text, soft_wrap=True)

    def warn(self, text: str) -> None:
        """One line that --quiet does not keep back."""
        self._err.print(Text.assemble(("warning: ", "yellow"), text), soft_wrap=True)

    def error(self, message: str, hint: str | None = None) -> None:
        """One line about what is wrong, one about what to do."""
        self._err.print(Text.assemble(("error: ", "bold red"), " ".join(message.split())), soft_wrap=True)
        if hint:
            self._err.print(Text.assemble(("hint: ", "bold"), " ".join(hint.split())), soft_wrap=True)

    def result(self, data: Mapping[str, Any], show: Callable[[], None] | None = None) -> None:
        """What the verb found or did: as JSON, or by `show`, which may print nothing."""
        if self.as_json:
            values = plain({"schema_version": SCHEMA_VERSION, **data})
            unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
            self.text(json.dumps(values, indent=2, ensure_ascii=not unicode))
        elif show is not None:
            show()

    def text(self, text: str) -> None:
        """Text to stdout exactly as it is, with a line end."""
        try:
            sys.stdout.write(text if text.endswith("\n") else text + "\n")
            sys.stdout.flush()
        except BrokenPipeError:
            _silence_stdout()

    def table(
        self, heads: Sequence[str], rows: Sequence[Sequence[Cell]], *, right: Sequence[str] = ()
    ) -> None:
        """Rows to stdout; columns named in `right` are numbers."""
        if not self._out.is_terminal:
            self.text("\n".join(_aligned(heads, rows, right)))
            return
        table = Table(box=None, pad_edge=False, header_style="bold")
        for head in heads:
            table.add_column(head, justify="right" if head in right else "left", overflow="fold")
        for row in rows:
            table.add_row(*row)
        self._out.print(table)

    @contextmanager
    def status(self, title: str) -> Iterator[Callable[[str], None]]:
        """One line on stderr that is written over, on a terminal only; call it with what it shall say."""
        if self.quiet or not self._err.is_terminal:
            yield lambda _: None
            return
        with self._err.status(Text(title)) as line:
            yield lambda text: line.update(Text(text))

    @contextmanager
    def progress(self, title: str, total: int) -> Iterator[Callable[[str], None]]:
        """A bar on stderr for work of over a second, on a terminal only; call it with what is next."""
        if self.quiet or not self._err.is_terminal:
            yield lambda _: None
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        bar = Progress(*columns, console=self._err, transient=True)
        task = bar.add_task(title, total=total)
        done = -1

        def begin(what: str) -> None:
            nonlocal done
            done += 1
            bar.update(task, completed=done, description=f"{title} {what}")

        timer = threading.Timer(BAR_AFTER_SECONDS, bar.start)
        timer.daemon = True
        timer.start()
        try:
            yield begin
        finally:
            timer.cancel()
            # Either it never starts now, or it has started and can be stopped.
            timer.join()
            bar.stop()


def _aligned(heads: Sequence[str], rows: Sequence[Sequence[Cell]], right: Sequence[str]) -> Iterator[str]:
    lines = [list(heads), *([" ".join(str(value).split("\n")) for value in row] for row in rows)]
    widths = [max(cell_len(line[n]) for line in lines) for n in range(len(heads))]
    for line in lines:
        cells = []
        for head, value, width in zip(heads, line, widths, strict=True):
            space = " " * (width - cell_len(value))
            cells.append(space + value if head in right else value + space)
        yield "  ".join(cells).rstrip()
