"""How single values read: as text for people, as JSON for programs. Rows may be of any type."""

import dataclasses
import math
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import Any

_UNITS = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))

# Control characters of the data must not reach a terminal, which would obey them.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}


def duration(value: timedelta | None) -> str:
    """As it is written in a definition: 90s, 1h30m, 7d; empty for None."""
    if value is None:
        return ""
    rest, text = int(value.total_seconds()), ""
    for unit, seconds in _UNITS:
        count, rest = divmod(rest, seconds)
        text += f"{count}{unit}" if count else ""
    return text or f"{round(value.total_seconds() * 1000)}ms"


def age(seconds: float | None) -> str:
    """Roughly how long ago: `4 min`; empty for None."""
    if seconds is None:
        return ""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 1 else "<1 s"


def moment(value: datetime | None) -> str:
    """To the second, with its offset; empty for None."""
    return value.isoformat(sep=" ", timespec="seconds") if value else ""


def counted(number: int, noun: str) -> str:
    """`1 row`, `5 rows`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def cell(value: Any) -> str:
    """One value in a table or a line."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (dict, list, tuple)):
        from json import dumps

        value = dumps(plain(value), ensure_ascii=False)
    elif isinstance(value, (bytes, memoryview)):
        value = plain(value)
    return str(value).translate(_CONTROLS)


def plain(value: Any) -> Any:
    """The value in types that JSON has: ISO 8601 moments, durations in seconds, exact numbers as strings."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    result: Any
    match value:
        case None | bool() | int():
            result = value
        case float():
            result = value if math.isfinite(value) else str(value)
        case datetime() | date() | time():
            result = value.isoformat()
        case timedelta():
            result = value.total_seconds()
        case bytes() | bytearray() | memoryview():
            result = "\\x" + bytes(value).hex()
        case Mapping():
            result = {str(k): plain(v) for k, v in value.items()}
        case list() | tuple() | set() | frozenset():
            result = [plain(v) for v in value]
        case _:
            # Decimal and UUID among them: as a JSON number the one would lose digits, the other is none.
            result = str(value)
    return result
