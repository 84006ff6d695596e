"""Draws a plot as an SVG file: lines with their points, no library."""

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import Final

from benchmarks.bench import Plot

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 70, 190, 40, 50
# Told apart by people who see colours differently, too.
COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")

_Scale = Callable[[float], float]


def svg(plot: Plot) -> str:
    """The text of the file. Points that a logarithmic axis cannot have are left out."""
    series = {
        name: [(x, y) for x, y in points if (x > 0 or not plot.log_x) and (y > 0 or not plot.log_y)]
        for name, points in plot.series.items()
    }
    every = [point for points in series.values() for point in points]
    x_ticks = _ticks([x for x, _ in every], logarithmic=plot.log_x)
    y_ticks = _ticks(
        [0.0, *(y for _, y in every)] if not plot.log_y else [y for _, y in every], logarithmic=plot.log_y
    )
    to_x = _scale(x_ticks, LEFT, WIDTH - RIGHT, logarithmic=plot.log_x)
    to_y = _scale(y_ticks, HEIGHT - BOTTOM, TOP, logarithmic=plot.log_y)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"',
        f' aria-label="{escape(plot.title)}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        _text(LEFT, 22, plot.title, size=14),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, plot.x_label, anchor="middle"),
        f'<g transform="translate(16 {(TOP + HEIGHT - BOTTOM) / 2:.0f}) rotate(-90)">',
        _text(0, 0, plot.y_label, anchor="middle"),
        "</g>",
    ]
    for tick in x_ticks:
        parts.append(_line(to_x(tick), TOP, to_x(tick), HEIGHT - BOTTOM))
        parts.append(_text(to_x(tick), HEIGHT - BOTTOM + 16, _short(tick), anchor="middle"))
    for tick in y_ticks:
        parts.append(_line(LEFT, to_y(tick), WIDTH - RIGHT, to_y(tick)))
        parts.append(_text(LEFT - 6, to_y(tick) + 4, _short(tick), anchor="end"))
    for n, (name, points) in enumerate(series.items()):
        colour = COLOURS[n % len(COLOURS)]
        at = [(to_x(x), to_y(y)) for x, y in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in at]
        row = TOP + 14 + n * 18
        parts.append(f'<circle cx="{WIDTH - RIGHT + 16}" cy="{row - 4}" r="4" fill="{colour}"/>')
        parts.append(_text(WIDTH - RIGHT + 26, row, name))
    return "\n".join([*parts, "</svg>", ""])


def _ticks(values: Sequence[float], *, logarithmic: bool) -> list[float]:
    """Round numbers from below the least to above the greatest value."""
    if not values:
        return [1.0, 10.0] if logarithmic else [0.0, 1.0]
    low, high = min(values), max(values)
    if logarithmic:
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        return [10.0**n for n in range(first, max(last, first + 1) + 1)]
    rough = (high - low or 1.0) / 5
    unit = 10 ** math.floor(math.log10(rough))
    step = next(unit * n for n in (1, 2, 5, 10) if unit * n >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [n * step for n in range(first, max(last, first + 1) + 1)]


def _scale(ticks: Sequence[float], begin: float, end: float, *, logarithmic: bool) -> _Scale:
    measure = math.log10 if logarithmic else float
    low, high = measure(ticks[0]), measure(ticks[-1])
    return lambda value: begin + (measure(value) - low) / (high - low) * (end - begin)


def _short(value: float) -> str:
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g} {unit}"
    return f"{value:g}"


def _text(x: float, y: float, what: str, *, anchor: str = "start", size: int = 12) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="#222222">'
        f"{escape(what)}</text>"
    )


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#dddddd"/>'
