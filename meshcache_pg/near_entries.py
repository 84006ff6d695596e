"""The rows that a near cache keeps: a table bounded in entries and in bytes. Knows no database.

A hit must cost next to nothing, so it takes no lock and moves nothing: it looks the entry up and writes down
when it was used. Whoever adds an entry pays for that, by looking for one that has not been used of late.
Everything but a look-up needs the lock of the owner.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from heapq import nlargest
from itertools import count
from typing import Any, Final, Generic, TypeVar

from meshcache_pg.answers import Result
from meshcache_pg.statements import Target

T = TypeVar("T")
Key = tuple[Any, ...]

# Nothing was used before this.
NEVER: Final = -1


class Entry(Generic[T]):
    """One row as it is handed out, and what is needed to ask whether it is still the same.

    `until` is what the clock may show at most when it is served. `types` are those of the key as it was asked
    for: values that are equal in Python may be others in the database. `key` is the key as the row has it,
    `version` that of the cached row, `size` in bytes. `used`, `checked` and `placed` are ticks: of the last
    use, of the last use before the last validation, and of that before the entry came to its place in the
    queue of those that go.
    """

    __slots__ = ("checked", "key", "placed", "result", "size", "target", "types", "until", "used", "version")

    def __init__(
        self,
        result: Result[T],
        *,
        target: Target,
        key: Key,
        types: Sequence[type],
        version: str,
        size: int,
    ) -> None:
        self.result = result
        self.target = target
        self.key = key
        self.types = [*types]
        self.version = version
        self.size = size
        self.until = 0.0
        self.used = self.checked = self.placed = NEVER

    def fits(self, key: Key) -> bool:
        """Whether it was asked for by this very key."""
        return self.types == [*map(type, key)]


class Entries(Generic[T]):
    """The entries by key. `find` is the look-up and `tick` says when it was a hit, both without a lock;
    `bytes` are those of all entries, `evicted` counts those that had to go.
    """

    def __init__(self, max_entries: int, max_bytes: int) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._entries: OrderedDict[Key, Entry[T]] = OrderedDict()
        self.find: Callable[[Key], Entry[T] | None] = self._entries.get
        # Ticks are numbers that are handed out once, also to threads that ask at the same time.
        self.tick: Callable[[], int] = count().__next__
        self._no_hits = 0
        self.bytes = 0
        self.evicted = 0

    @property
    def hits(self) -> int:
        """How many ticks were hits."""
        self._no_hits += 1
        return self.tick() - self._no_hits + 1

    def want(self, entry: Entry[T]) -> None:
        """Write down that an entry was asked for, although it cannot be served now."""
        self._no_hits += 1
        entry.used = self.tick()

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, key: Key, entry: Entry[T]) -> None:
        """Keep an entry, unless there is one that was read after it; another one that is there goes."""
        known = self._entries.get(key)
        if known is not None and known.until > entry.until:
            return
        if known is not None:
            self.remove(key)
        if entry.size > self._max_bytes:
            return
        self.want(entry)
        entry.checked = entry.used
        self._entries[key] = entry
        self.bytes += entry.size
        self._make_room()

    def _make_room(self) -> None:
        """Let go the entry at the head of the queue; one that was used since it came to its place goes to the
        end instead, each once at most.
        """
        chances = len(self._entries)
        while len(self._entries) > self._max_entries or self.bytes > self._max_bytes:
            key, entry = next(iter(self._entries.items()))
            if chances and entry.used > entry.placed:
                chances -= 1
                entry.placed = entry.used
                self._entries.move_to_end(key)
            else:
                self.remove(key)
                self.evicted += 1

    def remove(self, key: Key) -> None:
        """Let an entry go, if it is there."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.bytes -= entry.size

    def clear(self) -> None:
        """Let all go."""
        self._entries.clear()
        self.bytes = 0

    def to_validate(self, keys: Sequence[Key], at_most: int) -> dict[Key, Entry[T]]:
        """The entries of `keys`, and those that were used since their last validation, the latest first, up
        to so many together.
        """
        found = {key: entry for key in keys if (entry := self._entries.get(key)) is not None}
        others = (
            (key, entry)
            for key, entry in self._entries.items()
            if entry.used > entry.checked and key not in found
        )
        found.update(nlargest(max(0, at_most - len(found)), others, key=lambda item: item[1].used))
        return found
