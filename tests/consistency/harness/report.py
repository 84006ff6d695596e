"""The page that a run ends with, as text and as JSON."""

from dataclasses import asdict, dataclass, field
from typing import Any

from tests.consistency.harness.faults import CRASHES
from tests.consistency.harness.monitor import CLIENTS, OF_APPLY, OF_THE_CACHE
from tests.consistency.harness.site import Failure
from tests.consistency.harness.tally import Tally

# "At no point does a reader, writer or fill wait longer than this for a lock of the cache."
LONGEST_WAIT_SECONDS = 1.0

# The largest wait that the server's log has of a client, with the subject in what it says of it.
WAITS_FOR_THE_SUBJECT = "a client waits for the subject, says the server"


@dataclass
class Report:
    """What one run on one server has shown."""

    seed: int
    subject: str
    versions: dict[str, str]
    seconds: float = 0.0
    rounds: int = 0
    left_out: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    log_tail: str = ""
    recent: list[str] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)

    @property
    def reads(self) -> int:
        """Compared reads: keys asked for, and lists."""
        return self.tally.group("compared")["reads"]

    @property
    def rows(self) -> int:
        """Rows that were compared."""
        return self.tally.group("compared")["rows"]

    @property
    def hits(self) -> int:
        """Reads by key that were hits."""
        return self.tally.group("reads")["hit"]

    @property
    def crashes(self) -> int:
        """Times that the server lost everything that is not durable."""
        kinds = self.tally.group("faults by kind")
        return sum(kinds[kind] for kind in CRASHES)

    @property
    def unequal(self) -> int:
        """Reads that differed from the source."""
        return sum(f.kind == "wrong row" for f in self.failures) + self.tally.group("reads")["different"]

    def longest_wait(self, whose: str = OF_THE_CACHE) -> tuple[float, str]:
        """The longest time that a reader, a writer or a fill waited for such a lock."""
        waits = self.tally.maxima()
        names = (f"{role or 'pgbouncer'} waits for {whose}" for role in CLIENTS)
        return max((waits[name] for name in names if name in waits), default=(0.0, "nobody waited"))

    def line(self) -> str:
        """How far it is."""
        share = self.hits / self.reads if self.reads else 0
        return (
            f"PostgreSQL {self.versions['postgresql']}: {self.seconds:.0f} s, round {self.rounds}:"
            f" {self.reads:,} reads, {self.rows:,} rows, {share:.0%} hits,"
            f" {self.crashes} crashes, {len(self.failures)} failures"
        )

    def bound(self) -> str:
        """What so many reads without a difference say (the rule of three, 95 %)."""
        if not self.reads:
            return "nothing was compared"
        if self.unequal:
            in_a_million = self.unequal / self.reads * 1e6
            return f"{self.unequal} of {self.reads:,} reads differed: {in_a_million:.1f} in a million"
        return (
            f"0 of {self.reads:,} reads differed: fewer than {3 / self.reads * 1e6:.2g} in a million,"
            f" and 0 of {self.hits:,} hits: fewer than {3e6 / max(1, self.hits):.2g} in a million (95 %, 3/N)"
        )

    def as_json(self) -> dict[str, Any]:
        """Everything, for other programs."""
        return {
            "schema_version": 1,
            "seed": self.seed,
            "subject": self.subject,
            "versions": self.versions,
            "seconds": round(self.seconds, 1),
            "rounds": self.rounds,
            "left_out": self.left_out,
            "compared_reads": self.reads,
            "compared_rows": self.rows,
            "hits": self.hits,
            "unequal": self.unequal,
            "crashes": self.crashes,
            "longest_wait_seconds": round(self.longest_wait()[0], 3),
            "longest_wait": self.longest_wait()[1],
            "longest_wait_for_apply_seconds": round(self.longest_wait(OF_APPLY)[0], 3),
            "longest_wait_for_apply": self.longest_wait(OF_APPLY)[1],
            "failures": [asdict(failure) for failure in self.failures],
            "counts": self.tally.groups(),
            "longest": self.tally.maxima(),
        }

    def as_text(self) -> str:
        """Everything, for people."""
        share = self.hits / self.reads if self.reads else 0
        (wait, what), (applied, by_whom) = self.longest_wait(), self.longest_wait(OF_APPLY)
        lines = [
            "",
            f"PostgreSQL {self.versions['postgresql']}, subject: {self.subject}, seed {self.seed}",
            f"  {', '.join(f'{name} {version}' for name, version in self.versions.items())}",
            f"  {self.seconds:.0f} s, {self.rounds} rounds",
            *(f"  left out: {what}" for what in self.left_out),
            f"  compared reads   {self.reads:>12,}",
            f"  compared rows    {self.rows:>12,}",
            f"  hits             {self.hits:>12,}  {share:.0%} of the reads",
            f"  unequal          {self.unequal:>12,}",
            f"  crashes          {self.crashes:>12,}",
            f"  longest wait     {wait:>12.3f}  s for a lock of the cache: {what}",
            f"                   {applied:>12.3f}  s for a definition that was being applied: {by_whom}",
            f"  {self.bound()}",
        ]
        for group, names in self.tally.groups().items():
            if group not in ("compared", "faults", "errors of writers by statement", "writes", "by view"):
                lines += [f"  {group}", *_columns(names)]
        lines += ["  in the middle of", *_columns(dict(self.tally.group("faults")))]
        lines += ["  views", *_columns(dict(self.tally.group("by view")))]
        lines += ["  longest waits for locks, seconds"]
        lines += [
            f"    {value:8.3f}  {name}: {what}" for name, (value, what) in sorted(self.tally.maxima().items())
        ]
        for failure in self.failures:
            lines += [
                "",
                f"FAILED after {failure.after_seconds:.1f} s: {failure.kind}",
                f"{failure.who}: {failure.text}",
            ]
            lines += ["what the database held:", failure.evidence] if failure.evidence else []
        if self.failures:
            lines += ["the last steps:", *self.recent, "the server's log:", self.log_tail]
        return "\n".join(lines)


def _columns(names: dict[str, int]) -> list[str]:
    return [f"    {count:>12,}  {name}" for name, count in names.items()]
