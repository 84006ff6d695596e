"""What the demo prints: chapters, lines and tables within 80 columns, and bars on a terminal."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

# What everything is written for; a wider terminal is used up to the second number.
WIDTH, WIDEST = 80, 100

Cell = str | Text
Tick = Callable[[str, int, int], None]


@dataclass
class Timed:
    """Filled in at the end of the block that is timed."""

    seconds: float = 0.0


class Report:
    """Prints to stdout; with `silent` nothing but bars, to stderr."""

    def __init__(self, *, silent: bool = False, color: bool = True) -> None:
        self._silent = silent
        self._console = Console(
            stderr=silent, highlight=False, markup=False, emoji=False, no_color=not color or None
        )
        terminal = self._console.is_terminal
        self._console.width = min(self._console.width, WIDEST) if terminal else WIDTH

    def chapter(self, number: int, title: str) -> None:
        """Begin a chapter."""
        if not self._silent:
            self._console.print()
            self._console.print(Text(f"{number}. {title}", style="bold"))

    def line(self, text: Cell = "") -> None:
        """A line of text, wrapped where it is too long."""
        if not self._silent:
            self._console.print(text)

    def literal(self, text: str) -> None:
        """A command or an address: not wrapped, so that it can be copied."""
        if not self._silent:
            self._console.print(Text(f"  {text}", style="cyan"), soft_wrap=True)

    def table(
        self, heads: Sequence[str], rows: Sequence[Sequence[Cell]], *, right: Sequence[str] = ()
    ) -> None:
        """Aligned columns; those named in `right` are numbers."""
        if self._silent:
            return
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
        for head in heads:
            table.add_column(head, justify="right" if head in right else "left", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        self._console.print(table)

    @contextmanager
    def progress(self) -> Iterator[Tick]:
        """A bar per stage on a terminal: call the result with stage, done and total."""
        if not self._console.is_terminal:
            yield lambda _stage, _done, _total: None
            return
        columns = (TextColumn("   {task.description:<20}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self._console, transient=True) as bar:
            tasks = {}

            def tick(stage: str, done: int, total: int) -> None:
                if stage not in tasks:
                    tasks[stage] = bar.add_task(stage, total=total)
                bar.update(tasks[stage], completed=done, total=total)

            yield tick

    @contextmanager
    def timed(self) -> Iterator[Timed]:
        """How long the block takes."""
        timed = Timed()
        begin = time.perf_counter()
        try:
            yield timed
        finally:
            timed.seconds = time.perf_counter() - begin


def yes(fact: bool) -> Text:
    """`yes` in green, or `NO` in red."""
    return Text("yes", style="green") if fact else Text("NO", style="bold red")
