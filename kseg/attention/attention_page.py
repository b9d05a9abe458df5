"""The values of NAME.attention.html, where a click on the image shows the attention of that point.

templates/attention.html lays them out; templates/attention.js draws the heads.
"""

import base64
import math

import numpy as np

from kseg.attention import figures
from kseg.attention.stage_attention import Point, Stage, query_index
from kseg.labels import LabelSet
from kseg.preprocess import Size
from kseg.visualize import pages

POINTS = 400  # At most so many query points: their weights make up the size of the page.


def page(
    image: np.ndarray,
    stages: list[Stage],
    point: Point,
    *,
    labels: LabelSet,
    class_map: np.ndarray,
    name: str,
) -> str:
    """Returns the HTML page of one image.

    image (H, W, 3) uint8 RGB of the model's size; point (y, x), the one shown first; class_map
    (H, W) uint8 of the same size. The page contains the image and, for each stage, a PNG with the
    weights of every head at every query point (see `pack_weights`).
    """
    size = image.shape[0], image.shape[1]
    grid = point_grid(size)
    points = grid_points(size, grid)
    data = {
        "size": size,
        "points": grid,
        "at": nearest_point(point, size, grid),
        "names": labels.names,
        "classes": [int(class_map[int(y), int(x)]) for y, x in points],
        "colors": base64.b64encode(figures.inferno_colors().tobytes()).decode(),
        "opacity": figures.OPACITY,
        "image": pages.data_uri(image, "jpeg"),
        "stages": [_stage_data(stage, points) for stage in stages],
    }
    return pages.render(
        "kseg.attention/attention.html",
        {
            "title": f"Attention: {name}",
            "name": name,
            "size": size,
            "stages": [_stage_section(stage) for stage in stages],
            "convolutions": "; ".join(
                f"stage {s.number}: kernel {s.kernel}, stride {s.stride}, padding {s.padding}"
                for s in stages
            ),
            "patches": figures.draw_patches(image, stages, point),
            "data": data,
        },
    )


def point_grid(size: Size) -> Size:
    """(rows, columns) of the page's query points, at most POINTS, over an image of `size`."""
    height, width = size
    rows = max(1, min(height, int((POINTS * height / width) ** 0.5)))
    return rows, max(1, min(width, POINTS // rows))


def grid_points(size: Size, grid: Size) -> list[Point]:
    """The points (y, x) in the middle of the cells of a grid over an image, row by row."""
    rows, columns = ((np.arange(n) + 0.5) * side / n for n, side in zip(grid, size, strict=True))
    return [(y, x) for y in rows for x in columns]


def nearest_point(point: Point, size: Size, grid: Size) -> list[int]:
    """Returns [row, column] of the query point nearest to a point (y, x)."""
    return [
        min(max(int(at * n / side), 0), n - 1)
        for at, n, side in zip(point, grid, size, strict=True)
    ]


def pack_weights(stage: Stage, points: list[Point]) -> np.ndarray:
    """Weights as (heads * (points + 1), keys) uint8, head by head, scaled to a peak of 255 per row.

    The last row of each head is the mean over the image. Since weights sum to 1, dividing a row by
    its sum restores them, to within half a 255th of the peak plus the rounding of the sum.
    """
    at_points = stage.weights[:, [query_index(stage, point) for point in points]]
    rows = np.concatenate([at_points, stage.weights.mean(1, keepdims=True)], axis=1)
    scaled = np.rint(255 * rows / rows.max(-1, keepdims=True)).astype(np.uint8)
    return scaled.reshape(-1, rows.shape[-1])


def _stage_data(stage, points):
    """What the script needs of a stage."""
    return {
        "heads": len(stage.weights),
        "pixels": stage.query_pixels,
        "queries": stage.query_grid,
        "keys": stage.key_grid,
        "key": stage.key_pixels,
        # PNG: browsers decode it to exactly the same bytes.
        "weights": pages.data_uri(pack_weights(stage, points)),
    }


def _stage_section(stage):
    """What the template needs of a stage; head -1 is the mean."""
    heads = len(stage.weights)
    names = [name for name, _ in figures.head_panels(np.zeros((heads, 1, 1)))]
    queries = math.prod(stage.query_grid)
    return {
        "index": stage.number - 1,
        "title": stage.title,
        "summary": stage.summary,
        "heads": list(enumerate(names, start=heads - len(names))),
        "query_grid": stage.query_grid,
        "key_grid": stage.key_grid,
        "reduction": stage.reduction,
        "weights": queries * math.prod(stage.key_grid),
        "all_to_all": queries**2,
    }
