"""The geometry of the report's line charts; templates/charts.html draws all charts as SVG.

Not matplotlib: as part of the page, the charts follow its light or dark colours, are read out by
screen readers, show values on hover, and add a few kilobytes.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

_WIDTH, _HEIGHT = 330, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 34, 322, 26, 172

XY = tuple[float, float]


class Line(NamedTuple):
    """The line of one run, in SVG units; `marked` are the points with a mark."""

    run: int
    points: list[XY]
    marked: list[XY]


class LineChart(NamedTuple):
    """id: unique on the page. description: the chart in words. Ticks: (position, text)."""

    id: str
    title: str
    description: str
    x_label: str
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    lines: list[Line]
    width: int = _WIDTH
    height: int = _HEIGHT
    left: int = _LEFT
    right: int = _RIGHT
    bottom: int = _BOTTOM


def line_chart(
    id: str,
    title: str,
    description: str,
    series: Sequence[tuple[int, Sequence[float], Sequence[float]]],
    *,
    x_label: str,
    y_range: tuple[float, float] | None = None,
    percent: bool = True,
) -> LineChart:
    """Lays out a chart of lines.

    series: for each run its index and its points, (run, xs, ys). y_range: (low, high), by default
    that of the points.
    """
    all_x = [x for _, xs, _ in series for x in xs]
    all_y = [y for _, _, ys in series for y in ys]
    ticks = nice_ticks(*(y_range or (min(all_y), max(all_y))))
    (x_low, x_high), (low, high) = (min(all_x), max(all_x)), (ticks[0], ticks[-1])

    def place(x, y):
        right = (x - x_low) / ((x_high - x_low) or 1)
        up = (min(max(y, low), high) - low) / (high - low)
        return _LEFT + right * (_RIGHT - _LEFT), _BOTTOM - up * (_BOTTOM - _TOP)

    return LineChart(
        id,
        title,
        description,
        x_label,
        [
            (place(x, low)[0], f"{x:g}")
            for x in dict.fromkeys((x_low, (x_low + x_high) // 2, x_high))
        ],
        [(place(x_low, y)[1], f"{y:.0%}" if percent else f"{y:g}") for y in ticks],
        [_line(run, [place(x, y) for x, y in zip(xs, ys, strict=True)]) for run, xs, ys in series],
    )


def _line(run, points):
    step = max(1, (len(points) - 1) // 5)
    # Runs have their marks at different places, so that none hides another.
    return Line(run, points, points[(run * step // 3) % len(points) :: step])


def nice_ticks(low: float, high: float) -> list[float]:
    """Returns 3 to 7 evenly spaced round numbers that span low..high."""
    span = (high - low) or abs(high) or 1
    power = 10.0 ** math.floor(math.log10(span / 4))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if span / (power * m) <= 4.5)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 10) for i in range(first, max(last, first + 1) + 1)]
