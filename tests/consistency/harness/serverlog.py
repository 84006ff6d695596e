"""What the server itself says: waits that were longer than the bar, deadlocks with the cache in them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

# %m [%p] %a|%e: then the message. Lines that begin otherwise go on with the one before.
PREFIX = "%m [%p] %a|%e: "
_LINE = re.compile(r"^\d{4}-\d\d-\d\d [\d:.]+ \S+ \[(\d+)\] (.*?)\|(\w{5}): (\w+):\s+(.*)$")
_WAITED = re.compile(r"process \d+ acquired (\w+) on (.*) after ([\d.]+) ms")


@dataclass
class Message:
    """One message with the lines that belong to it."""

    role: str
    state: str
    level: str
    text: str
    more: list[str] = field(default_factory=list)

    @property
    def whole(self) -> str:
        """All of it."""
        return "\n".join([self.text, *self.more])


class ServerLog:
    """Reads on where it stopped."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0

    def news(self) -> list[Message]:
        """Messages since the last time."""
        with self._path.open("rb") as log:
            log.seek(self._read)
            text = log.read()
        self._read += len(text)
        return list(_messages(text.decode("utf-8", "replace")))


def _messages(text: str) -> Iterator[Message]:
    current: Message | None = None
    for line in text.splitlines():
        found = _LINE.match(line)
        if found is None:
            if current is not None:
                current.more.append(line)
            continue
        _, role, state, level, said = found.groups()
        if level in ("DETAIL", "HINT", "CONTEXT", "STATEMENT", "QUERY") and current is not None:
            current.more.append(f"{level}: {said}")
            continue
        if current is not None:
            yield current
        current = Message(role, state, level, said)
    if current is not None:
        yield current


def long_wait(message: Message) -> tuple[float, str] | None:
    """Seconds and lock of a wait that was longer than deadlock_timeout."""
    found = _WAITED.search(message.text)
    return (float(found[3]) / 1000, f"{found[1]} on {found[2]}") if found else None


def deadlock_with_the_cache(message: Message) -> bool:
    """Whether an application's statement was the victim of a deadlock in which the cache took part."""
    return (
        message.state == "40P01"
        and message.role in ("mc write", "mc migrate", "mc resolve", "mc read", "mc ask", "")
        and ("meshcache" in message.whole or "mark_" in message.whole or "advisory" in message.whole)
    )
