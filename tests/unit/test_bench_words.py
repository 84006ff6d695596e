"""What a run of the benchmarks says of its figures, without a server."""

import json
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from benchmarks import report
from benchmarks.__main__ import GROUPS, _groups
from benchmarks.bench import Bar, Bench, Goal, Plot, Result, Table, percentile
from benchmarks.plot import svg

ABOUT: dict[str, Any] = {
    "postgresql": "18.6",
    "python": "3.11.7",
    "packages": {"psycopg": "3.3.0"},
    "processor": "a processor",
    "cores": 2,
    "memory_gib": 24.0,
    "system": "Linux x86_64",
    "date": "2025-10-15",
    "minutes": 12.5,
    "effort": 0.5,
    "seed": 1,
}
RESULTS: list[Result] = [
    Bar("a hit", 1.2, Goal(1.15)),
    Bar("a list", 12.0, Goal(10, at_least=True), "12 against 1"),
    Table("reads", "Reads", ("way", "p50"), [("cache|source", 12_345.6)], "A note."),
    Plot("growth", "Growth", "rows", "microseconds", {"hits": [(10, 1.0), (1000, 1.5)]}, log_x=True),
]


@pytest.mark.parametrize(
    ("goal", "kept", "broken"), [(Goal(1.15), 1.15, 1.16), (Goal(10, at_least=True), 10.0, 9.9)]
)
def test_a_goal_is_a_limit_that_may_be_reached(goal: Goal, kept: float, broken: float) -> None:
    assert goal.is_met(kept)
    assert not goal.is_met(broken)


def test_the_results_are_json_for_machines() -> None:
    found = json.loads(report.as_json(ABOUT, RESULTS, ["memcached: not found"]))
    assert [(one["bar"], one["figure"], one["goal"], one["met"]) for one in found["bars"]] == [
        ("a hit", 1.2, "at most 1.15", False),
        ("a list", 12.0, "at least 10", True),
    ]
    assert found["tables"]["reads"]["rows"] == [["cache|source", 12345.6]]
    assert found["left_out"] == ["memcached: not found"]


def test_a_page_has_bars_tables_plots_and_what_was_left_out() -> None:
    page = report.markdown(ABOUT, RESULTS, ["memcached: not found"])
    assert "| a hit | 1.20 | at most 1.15 | no |  |" in page
    assert "| cache\\|source | 12,345.6 |" in page
    assert "A note." in page
    assert "![Growth](performance/growth.svg)" in page
    assert "- memcached: not found" in page
    assert "PostgreSQL 18.6" in page


def test_the_page_has_room_for_what_is_measured() -> None:
    text = report.PAGE.read_text("utf-8")
    assert 0 < text.index(report.BEGIN) < text.index(report.END)


def test_a_plot_is_well_formed_and_shows_every_point() -> None:
    plot = Plot("p", "a < b", "x & y", "z", {"<one>": [(1, 2), (10, 3), (100, 4)], "two": [(1, 1)]})
    for logarithmic in (False, True):
        text = svg(Plot(plot.name, plot.title, plot.x_label, plot.y_label, plot.series, log_x=logarithmic))
        root = ET.fromstring(text)  # noqa: S314 - our own
        circles = root.findall("{*}circle")
        # One in the legend for each line.
        assert len(circles) == 4 + 2


def test_a_plot_leaves_out_what_its_axis_cannot_have() -> None:
    text = svg(Plot("p", "t", "x", "y", {"one": [(0, 1), (10, 2)]}, log_x=True))
    assert len(ET.fromstring(text).findall("{*}circle")) == 1 + 1  # noqa: S314 - our own


def test_an_empty_plot_is_a_plot() -> None:
    assert ET.fromstring(svg(Plot("p", "t", "x", "y", {}))) is not None  # noqa: S314 - our own


def test_a_percentile_is_one_of_the_figures() -> None:
    assert percentile([3, 1, 2], 0.5) == 2
    assert percentile([1], 0.99) == 1
    assert percentile(range(100), 0.99) == 99


def test_less_effort_means_less_time_and_fewer_rows() -> None:
    assert Bench(effort=0.1).seconds(10) == pytest.approx(1)
    assert Bench(effort=0.1).rows(10_000) == 1_000
    assert Bench(effort=5).rows(10_000) == 10_000
    assert Bench(smoke=True).rows(10_000) == 100


def test_an_unknown_group_is_refused_by_name() -> None:
    assert _groups("hits, writers") == ["hits", "writers"]
    with pytest.raises(Exception, match="no group nothing; there are hits"):
        _groups("hits,nothing")
    assert set(GROUPS) >= {"hits", "writers"}
