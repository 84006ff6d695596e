"""Writes what was measured: JSON for machines, a page with its plots for people, and the table of bars."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.bench import Bar, Plot, Result, Table
from benchmarks.plot import svg

ROOT: Final = Path(__file__).parent.parent
LATEST: Final = ROOT / "benchmarks" / "results" / "latest.json"
PAGE: Final = ROOT / "docs" / "reference" / "performance.md"
PLOTS: Final = ROOT / "docs" / "reference" / "performance"

# What is between these lines of the page is written anew by each run; the words around it are kept.
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def as_json(about: Mapping[str, Any], results: Sequence[Result], left_out: Sequence[str]) -> str:
    """The content of results/latest.json."""
    tables = [one for one in results if isinstance(one, Table)]
    return (
        json.dumps(
            {
                "schema_version": 1,
                "about": about,
                "bars": [one.as_json() for one in results if isinstance(one, Bar)],
                "tables": {
                    one.name: {"title": one.title, "columns": one.columns, "rows": one.rows, "note": one.note}
                    for one in tables
                },
                "left_out": left_out,
            },
            indent=1,
        )
        + "\n"
    )


def bar_table(bars: Sequence[Bar]) -> Table:
    """All bars side by side."""
    return Table(
        "bars",
        "Bars",
        ("what", "figure", "goal", "met", "detail"),
        [
            (one.bar, f"{one.figure:.2f}", str(one.goal), "yes" if one.met else "no", one.detail)
            for one in bars
        ],
    )


def markdown(about: Mapping[str, Any], results: Sequence[Result], left_out: Sequence[str]) -> str:
    """The measured part of the page."""
    lines = [about_line(about), ""]
    bars = bar_table([one for one in results if isinstance(one, Bar)])
    for table in (bars, *(one for one in results if isinstance(one, Table))):
        lines += [f"### {table.title}", "", *_rows(table), ""]
        if table.note:
            lines += [table.note, ""]
    for plot in (one for one in results if isinstance(one, Plot)):
        lines += [f"![{plot.title}]({PLOTS.name}/{plot.name}.svg)", ""]
    if left_out:
        lines += ["Left out:", "", *(f"- {reason}" for reason in left_out), ""]
    return "\n".join(lines)


def write(about: Mapping[str, Any], results: Sequence[Result], left_out: Sequence[str]) -> None:
    """Write results/latest.json, the measured part of the page, and its plots."""
    LATEST.parent.mkdir(exist_ok=True)
    LATEST.write_text(as_json(about, results, left_out), "utf-8")
    page = PAGE.read_text("utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{markdown(about, results, left_out)}\n{END}{after}", "utf-8")
    PLOTS.mkdir(exist_ok=True)
    for plot in (one for one in results if isinstance(one, Plot)):
        (PLOTS / f"{plot.name}.svg").write_text(svg(plot), "utf-8")


def _rows(table: Table) -> list[str]:
    rule = " | ".join("---" if n == 0 else "---:" for n, _ in enumerate(table.columns))
    return [
        f"| {' | '.join(table.columns)} |",
        f"| {rule} |",
        *(f"| {' | '.join(_cell(cell) for cell in row)} |" for row in table.rows),
    ]


def _cell(cell: str | float) -> str:
    return cell.replace("|", "\\|") if isinstance(cell, str) else f"{cell:,}"


def about_line(about: Mapping[str, Any]) -> str:
    """Machine, versions, and what was asked for, in one line."""
    packages = ", ".join(f"{name} {version}" for name, version in about["packages"].items())
    return (
        f"PostgreSQL {about['postgresql']}, Python {about['python']}, {packages}; {about['processor']}, "
        f"{about['cores']} cores, {about['memory_gib']} GiB, {about['system']}; {about['date']}, "
        f"{about['minutes']} minutes, effort {about['effort']:g}, seed {about['seed']}."
    )
