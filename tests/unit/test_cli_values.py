"""Values read well in tables, and lose nothing in JSON."""

import json
import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from meshcache_pg.cli.values import age, cell, counted, duration, moment, plain
from meshcache_pg.headers import parse_duration

WHEN = datetime(2024, 2, 29, 12, 30, 1, 500, tzinfo=UTC)
ID = uuid.UUID("12345678-1234-5678-1234-567812345678")


@dataclass
class Pair:
    left: int
    right: timedelta


@pytest.mark.parametrize("text", ["90m", "1h30m", "7d", "250ms", "1d1s", "30s"])
def test_duration_reads_as_it_is_written(text: str) -> None:
    value = parse_duration(text, "here")
    assert parse_duration(duration(value), "here") == value
    assert duration(None) == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, ""), (0.2, "<1 s"), (59, "59 s"), (300, "5 min"), (86_400, "24 h"), (864_000, "10 d")],
)
def test_age_has_one_unit(seconds: float | None, text: str) -> None:
    assert age(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (True, "yes"),
        (Decimal("1.50"), "1.50"),
        ({"ä": [1, None]}, '{"ä": [1, null]}'),
        (b"\x01\xff", "\\x01ff"),
        ("red \x1b[31m\x9b bell\x07", "red \\x1b[31m\\x9b bell\\x07"),
        ("two\nlines", "two\nlines"),
    ],
)
def test_cell_is_text_that_a_terminal_does_not_obey(value: Any, text: str) -> None:
    assert cell(value) == text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (WHEN, "2024-02-29T12:30:01.000500+00:00"),
        (date(2024, 2, 29), "2024-02-29"),
        (timedelta(minutes=1.5), 90.0),
        (Decimal("12345678901234567890.10"), "12345678901234567890.10"),
        (ID, str(ID)),
        (float("nan"), "nan"),
        (1.5, 1.5),
        (memoryview(b"\x00a"), "\\x0061"),
        ({1: (True, None)}, {"1": [True, None]}),
        (Pair(1, timedelta(seconds=2)), {"left": 1, "right": 2.0}),
    ],
)
def test_plain_is_what_json_can_write(value: Any, expected: Any) -> None:
    assert plain(value) == expected
    assert json.loads(json.dumps(plain(value), allow_nan=False)) == expected


def test_counts_and_moments() -> None:
    assert [counted(n, "row") for n in (0, 1, 12_000)] == ["0 rows", "1 row", "12,000 rows"]
    assert (moment(WHEN), moment(None)) == ("2024-02-29 12:30:01+00:00", "")
