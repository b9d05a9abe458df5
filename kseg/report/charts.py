"""Charts as SVG text: lines by epoch, and reliability diagrams.

Runs are told apart by colour, by dashes and by the shape of their marks.
"""

import math
from html import escape

# After Okabe and Ito (2008), darker on light pages and lighter on dark ones where their own has
# less than 3:1 contrast with the page.
LIGHT = ("#0072b2", "#d55e00", "#007d5a", "#b04a85", "#1c2126", "#8f6400")
DARK = ("#56b4e9", "#e97a2c", "#2fbf95", "#dd93b8", "#e6e9ec", "#f0e442")
_DASHES = ("", "7 3", "2 3", "9 3 2 3", "12 4", "4 2", "1 2")
_MARKS = (
    "M-3 0a3 3 0 1 0 6 0a3 3 0 1 0-6 0z",  # Circle.
    "M-3-3h6v6h-6z",  # Square.
    "M0-4l4 7h-8z",  # Triangle.
    "M0-4l4 4l-4 4l-4-4z",  # Diamond.
    "M-4-1h3v-3h2v3h3v2h-3v3h-2v-3h-3z",  # Plus.
    "M0 4l4-7h-8z",  # Triangle on its point.
    "M-4 -1h8v2h-8z",  # Bar.
)

STYLE = (
    "".join(f".s{i} {{ --s: {color}; }} " for i, color in enumerate(LIGHT))
    + "@media (prefers-color-scheme: dark) { "
    + "".join(f".s{i} {{ --s: {color}; }} " for i, color in enumerate(DARK))
    + """}
svg .line { fill: none; stroke: var(--s); stroke-width: 2; stroke-linejoin: round; }
svg .mark { fill: var(--s); stroke: var(--paper); stroke-width: 1; }
svg .rule { stroke: var(--line); } svg .axis { stroke: var(--soft); }
svg text.head { fill: var(--ink); font-size: 12px; font-weight: bold; }
svg rect.bin { fill: var(--s); } svg .ideal { stroke: var(--ink); stroke-dasharray: 4 3; }
svg rect.gap { stroke: var(--s); stroke-width: 1; } svg rect.share { fill: var(--soft); }
svg .above { stroke: var(--s); stroke-width: 1.5; }
svg .within { stroke: var(--paper); stroke-width: 1.5; }
svg.key { display: inline-block; width: 3rem; vertical-align: middle; margin-right: .4rem; }
"""
)

_WIDTH, _HEIGHT = 330, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 34, 322, 26, 172


def line_chart(name, title, told, series, *, x_label, y_range=None, percent=True):
    """Returns the SVG of a chart.

    name: an id on the page. told: the chart in words, for those who do not see it. series: for
    each run its place and its points, (i, xs, ys). y_range: (low, high), or that of the points.
    """
    xs = [x for _, line, _ in series for x in line]
    ys = [y for _, _, line in series for y in line]
    ticks = nice_ticks(*(y_range or (min(ys), max(ys))))
    (x_low, x_high), (low, high) = (min(xs), max(xs)), (ticks[0], ticks[-1])

    def place(x, y):
        across = (x - x_low) / ((x_high - x_low) or 1)
        up = (min(max(y, low), high) - low) / (high - low)
        return _LEFT + across * (_RIGHT - _LEFT), _BOTTOM - up * (_BOTTOM - _TOP)

    parts = [f'<text class="head" x="0" y="12">{escape(title)}</text>']
    for tick in ticks:
        y = place(x_low, tick)[1]
        text = f"{tick:.0%}" if percent else f"{tick:g}"
        parts.append(f'<line class="rule" x1="{_LEFT}" x2="{_RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 4}" y="{y + 3:.1f}" text-anchor="end">{text}</text>')
    for x in dict.fromkeys((x_low, (x_low + x_high) // 2, x_high)):
        anchor = "end" if x == x_high > x_low else "middle"
        at = f'x="{place(x, low)[0]:.1f}" y="{_BOTTOM + 14}"'
        parts.append(f'<text {at} text-anchor="{anchor}">{x:g}</text>')
    parts.append(
        f'<text x="{(_LEFT + _RIGHT) / 2}" y="{_HEIGHT - 2}" text-anchor="middle">{x_label}</text>'
    )
    parts += [_line(i, [place(x, y) for x, y in zip(*line, strict=True)]) for i, *line in series]
    return _svg(name, title, told, "".join(parts), (_WIDTH, _HEIGHT))


def _line(i, points):
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    step = max(1, (len(points) - 1) // 5)
    # Marks of different runs lie at different places, so that none hides another.
    marked = points[(i * step // 3) % len(points) :: step]
    return (
        f'<g class="s{i % len(LIGHT)}"><polyline class="line" points="{path}" '
        f'stroke-dasharray="{_DASHES[i % len(_DASHES)]}"/>'
        + "".join(_mark(i, x, y) for x, y in marked)
        + "</g>"
    )


def _mark(i, x, y):
    shape = _MARKS[i % len(_MARKS)]
    return f'<path class="mark" transform="translate({x:.1f} {y:.1f})" d="{shape}"/>'


def key(i):
    """Returns the SVG of a run's line and mark, for legends."""
    return (
        f'<svg class="key s{i % len(LIGHT)}" viewBox="0 0 48 12" aria-hidden="true"><path '
        f'class="line" d="M1 6h46" stroke-dasharray="{_DASHES[i % len(_DASHES)]}"/>'
        f"{_mark(i, 24, 6)}</svg>"
    )


def nice_ticks(low, high):
    """Returns 3 to 7 round numbers, evenly apart, that span low..high."""
    span = (high - low) or abs(high) or 1
    power = 10.0 ** math.floor(math.log10(span / 4))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if span / (power * m) <= 4.5)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 10) for i in range(first, max(last, first + 1) + 1)]


def reliability_chart(name, title, told, bins, i):
    """Returns the SVG of a reliability diagram of calibration.Bins (None: an empty one).

    Bars are accuracy, hatched is what lies between it and confidence; the dashed diagonal is a
    model whose confidence is right. Below them, the bins' shares of the pixels.
    """
    side, left, top = 220, _LEFT, _TOP
    bottom, width = top + side, side / len(bins)
    hatch = "".join(
        f'<pattern id="{name}-{kind}" width="5" height="5" patternUnits="userSpaceOnUse" '
        f'patternTransform="rotate(45)"><path class="{kind}" d="M0 0v5"/></pattern>'
        for kind in ("above", "within")
    )
    parts = [f'<text class="head" x="0" y="12">{escape(title)}</text>{hatch}']
    for tick in (0, 0.5, 1):
        y, x = bottom - tick * side, left + tick * side
        parts.append(
            f'<line class="rule" x1="{left}" x2="{left + side}" y1="{y}" y2="{y}"/>'
            f'<text x="{left - 4}" y="{y + 3}" text-anchor="end">{tick:.0%}</text>'
            f'<text x="{x}" y="{bottom + 52}" text-anchor="middle">{tick:.0%}</text>'
        )
    for place, one in enumerate(bins):
        if one is None:
            continue
        x, low = left + place * width, min(one.accuracy, one.confidence)
        gap = abs(one.accuracy - one.confidence)
        fill = f"{name}-{'above' if one.confidence > one.accuracy else 'within'}"
        words = (
            f"<title>confidence {one.confidence:.1%}, right {one.accuracy:.1%}, {one.share:.2%} "
            "of the pixels</title>"
        )
        parts += [
            _rect("bin", x, bottom - one.accuracy * side, width, one.accuracy * side, words),
            _rect("gap", x, bottom - (low + gap) * side, width, gap * side, words, fill),
            _rect("share", x, bottom + 40 - one.share * 34, width, one.share * 34, words),
        ]
    parts.append(
        f'<line class="ideal" x1="{left}" y1="{bottom}" x2="{left + side}" y2="{top}"/>'
        f'<line class="axis" x1="{left}" x2="{left + side}" y1="{bottom + 40}" y2="{bottom + 40}"/>'
        f'<text x="{left - 4}" y="{bottom + 40}" text-anchor="end">share</text>'
    )
    inner = f'<g class="s{i % len(LIGHT)}">{"".join(parts)}</g>'
    return _svg(name, title, told, inner, (_WIDTH, bottom + 56))


def _rect(kind, x, y, width, height, words, pattern=""):
    fill = f' style="fill:url(#{pattern})"' if pattern else ""
    return (
        f'<rect class="{kind}" x="{x + 0.5:.1f}" y="{y:.1f}" width="{width - 1:.1f}" '
        f'height="{height:.1f}"{fill}>{words}</rect>'
    )


def _svg(name, title, told, inner, size):
    return (
        f'<svg viewBox="0 0 {size[0]} {size[1]}" role="img" aria-labelledby="{name}-t {name}-d">'
        f'<title id="{name}-t">{escape(title)}</title><desc id="{name}-d">{escape(told)}</desc>'
        f"{inner}</svg>"
    )
