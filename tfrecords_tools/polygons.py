"""Polygons and run lengths -> masks, to the pixel as BDD100K's own tools make them."""

from typing import NamedTuple

import numpy as np


class Polygon(NamedTuple):
    """One closed outline: `vertices` ((x, y), ...) in pixels, (0, 0) the image's top-left corner.

    `types` has a letter a vertex: L a corner, C a control point of a cubic Bezier curve. A curve
    is three vertices: two control points and its end, which may be written L or C; the end may
    also be the outline's first vertex (bdd100k doc/source/format.rst, scalabel transforms.py).
    """

    class_id: int
    vertices: tuple
    types: str


def draw_polygons(polygons, size, background):
    """Draws polygons, later ones over earlier ones. Returns (H, W) uint8 class ids.

    BDD100K's masks were drawn by matplotlib's Agg renderer without antialiasing, vertices snapped
    to whole pixels, every touched pixel filled (bdd100k/label/to_mask.py), so the same renderer
    draws here: on the pair of polygons and mask in that repository (tests/label/testcases,
    curves included) no pixel differs. OpenCV's fillPoly differs there on 675 to 1,085 border pixels
    of 121,254, in five roundings of the vertices. The maps of the legacy release were drawn before
    vertices were snapped: polygons differ from such a drawing (474 pixels there), never further
    than one pixel from a border.
    """
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.path import Path
    from matplotlib.transforms import Affine2D

    height, width = size
    renderer = RendererAgg(width, height, 72)
    pen = renderer.new_gc()
    pen.set_antialiased(False)
    pen.set_snap(True)
    pen.set_linewidth(0)
    upside_down = Affine2D().scale(1, -1).translate(0, height)  # Agg's y axis points up.
    for polygon in polygons:
        # The closing line; where the outline ends in control points, the end of that curve.
        points = [*polygon.vertices, polygon.vertices[0]]
        codes = [Path.CURVE4 if letter == "C" else Path.LINETO for letter in polygon.types + "L"]
        codes[0] = Path.MOVETO
        color = (polygon.class_id / 255, 0, 0, 1)
        renderer.draw_path(pen, Path(points, codes), upside_down, color)
    drawn = np.asarray(renderer.buffer_rgba())
    return np.where(drawn[..., 3] > 0, drawn[..., 0], np.uint8(background))


def check_polygon(polygon):
    """Raises ValueError on an outline that cannot be drawn: its reason in a few words."""
    vertices = np.asarray(polygon.vertices, float)
    if vertices.ndim != 2 or vertices.shape[1] != 2 or len(vertices) < 3:
        raise ValueError("expected at least 3 vertices [x, y]")
    if not np.isfinite(vertices).all():
        raise ValueError("a vertex is not a finite number")
    if len(polygon.types) != len(vertices) or set(polygon.types) - {"L", "C"}:
        raise ValueError(f"types {polygon.types!r} for {len(vertices)} vertices; expected L and C")
    place = 1
    while place < len(vertices):
        place += 3 if polygon.types[place] == "C" else 1
    if place > len(vertices) + 1:
        raise ValueError(f"types {polygon.types!r}: the last curve lacks a control point")


def decode_runs(counts, size):
    """COCO run lengths -> (H, W) bool.

    `counts` are the lengths of runs of 0 and 1 in turn, down the columns, 0 first: a list, or
    pycocotools' string. Raises ValueError when they do not fill the size (height, width).
    """
    runs = np.asarray(_decompress(counts) if isinstance(counts, str) else counts, np.int64)
    if runs.ndim != 1 or (runs < 0).any() or runs.sum() != size[0] * size[1]:
        raise ValueError(f"its run lengths do not fill {size[0]}x{size[1]} pixels")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(size, order="F")


def _decompress(text):
    """pycocotools' string -> run lengths (cocoapi common/maskApi.c, rleFrString).

    Six bits a character above "0": five of the number, lowest first, and "more follows"; the
    last character's fifth bit is the sign. From the fourth on, numbers are differences to the
    run before last.
    """
    runs, number, shift = [], 0, 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"character {character!r} is not of a COCO run-length string")
        number |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            number -= 1 << shift
        runs.append(number + (runs[-2] if len(runs) > 2 else 0))
        number, shift = 0, 0
    if shift:
        raise ValueError("its run-length string is cut off")
    return runs
