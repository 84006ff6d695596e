"""Reads the trigger coverage matrix: what an application can do to its tables, and what is expected of the
cache then. All of it is data in matrix/*.sql; test_trigger_matrix.py does it, what-fires.md shows it.

A case is a block of header lines, then what is done:

    -- case: what the page calls it
    -- since: 15               the first PostgreSQL that has it
    -- how: alone              statement by statement, not in one transaction; or prepared, or refused (by
                               the server), or applied (by a worker of logical replication)
    -- locks: readers wait     nobody else can look before the commit
    -- gone: loan_card         a view that the change takes away
    -- fires: loan update      the mark functions that are called; "row" is the trigger for replica sessions
    -- marks: loan.id 1        what is left; `loan *` is a wildcard
    -- reads: rows, source     where reads come from, in the transaction and after it: cache (all of it), rows
                               (what is concerned from the source), source (all of it), wrong (an old row)
    -- cover: marks            what makes reads right
    -- before:                 a script that is run first, after which the cache is warmed again
    -- apply:                  a definition that is applied then
    -- do:                     a statement, or several
    -- copy: loan from stdin   rows of it, separated by commas; `-- types:` where they are sent in binary
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent / "matrix"
_HEADER = re.compile(r"-- (section|case|since|how|locks|gone|fires|marks|reads|cover): ?(.*)")
_BLOCK = re.compile(r"-- (before|apply|do|copy): ?(.*)")
_TYPES = "-- types: "


@dataclass
class Block:
    """Something to be done: its verb, what stands in its line, and the lines below."""

    verb: str
    argument: str
    lines: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "\n".join(self.lines).strip()

    @property
    def types(self) -> list[str]:
        found = [line.removeprefix(_TYPES) for line in self.lines if line.startswith(_TYPES)]
        return found[0].split(", ") if found else []

    @property
    def rows(self) -> list[tuple[str | int | None, ...]]:
        """Of a COPY: empty is null, and what is sent in binary are numbers."""
        found = [line.split(",") for line in self.lines if line and not line.startswith(_TYPES)]
        kind = int if self.types else str
        return [tuple(kind(value) if value else None for value in row) for row in found]


@dataclass(frozen=True)
class Case:
    """One line of the matrix; the fields are the header lines."""

    change: str
    blocks: tuple[Block, ...] = ()
    fires: str = ""
    marks: str = ""
    inside: str = ""
    after: str = ""
    cover: str = ""
    how: str = "transaction"
    since: int = 0
    locks: bool = False
    gone: tuple[str, ...] = ()

    @property
    def steps(self) -> list[Block]:
        return [block for block in self.blocks if block.verb in {"do", "copy"}]

    @property
    def preparation(self) -> list[Block]:
        return [block for block in self.blocks if block.verb in {"before", "apply"}]


def _case(change: str, headers: dict[str, str], blocks: list[Block]) -> Case:
    reads = headers.get("reads", "").split(", ")
    return Case(
        change,
        tuple(blocks),
        headers.get("fires", ""),
        headers.get("marks", ""),
        reads[0] if len(reads) > 1 else "",
        reads[-1],
        headers["cover"],
        headers.get("how", "transaction"),
        int(headers.get("since", 0)),
        "locks" in headers,
        tuple(filter(None, headers.get("gone", "").split(", "))),
    )


def sections() -> dict[str, list[Case]]:
    """The cases by the sections of the page, in their order."""
    found: dict[str, list[Case]] = {}
    for path in sorted(HERE.glob("[0-9]*.sql")):
        title, *texts = re.split(r"(?m)^(?=-- case: )", path.read_text(encoding="utf-8"))
        name = title.splitlines()[0].removeprefix("-- section: ")
        found[name] = []
        for text in texts:
            headers: dict[str, str] = {}
            blocks: list[Block] = []
            for line in text.splitlines():
                if header := _HEADER.fullmatch(line):
                    headers[header[1]] = header[2]
                elif block := _BLOCK.fullmatch(line):
                    blocks.append(Block(block[1], block[2]))
                elif blocks:
                    blocks[-1].lines.append(line)
            found[name].append(_case(headers["case"], headers, blocks))
    return found


def tables() -> str:
    """What the cases are done to."""
    return (HERE / "tables.sql").read_text(encoding="utf-8")


def views() -> list[str]:
    """The definitions over these tables."""
    return [path.read_text(encoding="utf-8") for path in sorted(HERE.glob("views/*.sql"))]
