"""NAME.attention.html: click on the image and see where that point's heads look."""

import base64
import json
from html import escape

import cv2
import numpy as np

from kseg.attention import figures
from kseg.attention import stage_attention as geometry
from kseg.attention.page_assets import SCRIPT, STYLE
from kseg.visualize.html import data_uri, document, row, table

POINTS = 400  # Query points in the page, at most: their weights make its size.


def page(image, stages, point, *, labels, class_map, name):
    """Returns the HTML page of one image.

    image (H, W, 3) uint8 RGB of the model's size; point (y, x), the one shown first; class_map
    (H, W) uint8 of the same size. Everything is inside: the image, and for each stage a PNG whose
    rows are the weights of a head at a query point (`packed`).
    """
    size = image.shape[:2]
    grid = point_grid(size)
    points = grid_points(size, grid)
    told = {
        "size": size,
        "points": grid,
        "at": nearest(point, size, grid),
        "names": labels.names,
        "classes": [int(class_map[int(y), int(x)]) for y, x in points],
        "colors": base64.b64encode(figures.inferno().tobytes()).decode(),
        "heat": figures.HEAT,
        "image": data_uri(image, "jpeg"),
        "stages": [_stage(stage, points) for stage in stages],
    }
    sections = [
        _head(name, size),
        *(_stage_section(stage) for stage in stages),
        _efficiency(stages),
        _overlap(image, stages, point),
        f'<script id="attention" type="application/json">{_json(told)}</script>',
        f"<script>{SCRIPT}</script>",
    ]
    return document(f"Attention: {name}", sections, STYLE)


def point_grid(size):
    """(rows, columns) of the page's query points, at most POINTS, over an image of `size`."""
    height, width = size
    rows = max(1, min(height, int((POINTS * height / width) ** 0.5)))
    return rows, max(1, min(width, POINTS // rows))


def grid_points(size, grid):
    """The points (y, x) in the middle of the cells of a grid over an image, row by row."""
    rows, columns = ((np.arange(n) + 0.5) * side / n for n, side in zip(grid, size, strict=True))
    return [(y, x) for y in rows for x in columns]


def nearest(point, size, grid):
    """Returns (row, column) of the query point nearest to a point (y, x)."""
    return [
        min(max(int(at * n / side), 0), n - 1)
        for at, n, side in zip(point, grid, size, strict=True)
    ]


def packed(stage, points):
    """Weights as (heads * (points + 1), keys) uint8, head by head, each row's peak 255.

    The last row of each head is the mean over the image. Since weights sum to 1, dividing a row by
    its sum gives them back, to half a 255th of the peak (and what the others' rounding adds up to).
    """
    chosen = stage.weights[:, [geometry.query_at(stage, point) for point in points]]
    rows = np.concatenate([chosen, stage.weights.mean(1, keepdims=True)], axis=1)
    return (
        np.rint(255 * rows / rows.max(-1, keepdims=True))
        .astype(np.uint8)
        .reshape(-1, rows.shape[-1])
    )


def _json(told):
    """Names of classes may hold anything, the end of a script too."""
    return json.dumps(told).replace("<", "\\u003c")


def _stage(stage, points):
    return {
        "heads": len(stage.weights),
        "pixels": stage.pixels,
        "queries": stage.query_grid,
        "keys": stage.key_grid,
        "key": stage.key_pixels,
        "weights": _png(packed(stage, points)),
    }


def _png(gray):
    """(H, W) uint8 -> data URI. PNG, since browsers unpack it to the very same bytes."""
    data = cv2.imencode(".png", gray, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1]
    return f"data:image/png;base64,{base64.b64encode(data.tobytes()).decode()}"


def _head(name, size):
    height, width = size
    return f"""<h1>Where a SegFormer looks</h1>
<p>Click on the image, or move the point by the arrow keys: the panels below show from which keys
each head takes what it tells about that point. Each panel has its own scale, from 0 to the peak it
names; cells are keys, the outlined square is the query's own cell.</p>
<div class="ask"><div id="ask" tabindex="0" role="application" aria-describedby="told"
aria-label="Query point on {escape(name)}; arrow keys move it">
<canvas id="image" width="{width}" height="{height}"></canvas></div>
<div><p id="told" aria-live="polite"></p>
<label><input type="checkbox" id="mean" /> the mean over all queries of the image instead</label>
<noscript><p class="warning">This page needs JavaScript; the pictures beside it do not.</p>
</noscript>
</div></div>"""


def _stage_section(stage):
    shown = "".join(
        f'<figure><canvas data-stage="{stage.number - 1}" data-head="{number}" role="img" '
        f'aria-label="Stage {stage.number}, {title}"></canvas>'
        f"<figcaption>{title}, peak <span>-</span></figcaption></figure>"
        for number, title in _numbered(len(stage.weights))
    )
    heading, told = figures.describe(stage).split(": ")
    return f'<h2>{heading}</h2>\n<p class="soft">{told}</p><div class="heads">{shown}</div>'


def _numbered(heads):
    """[(number from 0 or -1 for the mean, name)], as in the pictures."""
    named = [name for name, _ in figures.panels(np.zeros((heads, 1, 1)))]
    return list(enumerate(named, start=heads - len(named)))


def _efficiency(stages):
    heads = ("stage", "queries", "queries a key", "keys", "weights a head", "all to all", "saved")
    rows = [
        row(
            s.number,
            "x".join(map(str, s.query_grid)),
            "x".join(map(str, s.reduction)),
            "x".join(map(str, s.key_grid)),
            f"{np.prod(s.query_grid) * np.prod(s.key_grid):,}",
            f"{np.prod(s.query_grid) ** 2:,}",
            f"{np.prod(s.query_grid) / np.prod(s.key_grid):.1f}x",
        )
        for s in stages
    ]
    return f"""<h2>Efficient attention</h2>
<p>Were every patch a key, weights would grow with the square of the patches. SegFormer first
shrinks the map that keys come from, by a convolution whose kernel is its stride (section 3.1,
equation 2, of the paper): the cells in the panels. Where the map is no multiple of it, the last
rows and columns have queries and no key; there the image is dark.</p>
{table(heads, rows, "Queries and keys")}"""


def _overlap(image, stages, point):
    told = "; ".join(
        f"stage {s.number}: kernel {s.kernel}, stride {s.stride}, padding {s.padding}"
        for s in stages
    )
    picture = data_uri(figures.patches(image, stages, point), "jpeg")
    return f"""<h2>Overlapping patches</h2>
<p>Each stage takes its patches by a convolution whose kernel is larger than its stride, so that
neighbours share cells and lines are not cut at patch borders ({told}).</p>
<figure class="wide" tabindex="0" role="region" aria-label="Overlapping patches">
<img class="patches" src="{picture}" alt="The patches of each stage over the image, and three
windows of each that overlap: {told}"></figure>"""
