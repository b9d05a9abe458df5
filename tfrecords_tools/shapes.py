"""Draws annotated shapes as labelme and IDD draw their own masks, with Pillow's ImageDraw."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kseg.preprocess import Size

LINE_WIDTH, POINT_RADIUS = 10, 5  # Pixels; labelme/_utils/shape.py, shape_to_mask.

# Number of points of each kind; (least, most).
POINTS = {
    "polygon": (3, math.inf),
    "rectangle": (2, 2),
    "oriented_rectangle": (4, 4),
    "circle": (2, 2),  # The centre, and a point of the edge.
    "line": (2, 2),
    "linestrip": (2, math.inf),
    "point": (1, 1),
    "points": (1, math.inf),
    "mask": (2, 2),  # The box of `pixels`, top left and bottom right.
}


class Shape(NamedTuple):
    """One annotated shape: its kind (a key of POINTS), class and points ((x, y), ...) in pixels.

    pixels: (h, w) bool, of kind "mask" only.
    """

    kind: str
    class_id: int
    points: Sequence[Sequence[float]]
    pixels: np.ndarray | None = None


def draw_shapes(shapes: Sequence[Shape], size: Size, background: int) -> np.ndarray:
    """Draws shapes, later ones over earlier ones. Returns (H, W) uint8 class ids.

    The same Pillow calls as in labelme (_utils/shape.py, shapes_to_label) and in IDD
    (preperation/json2labelImg.py). Raises ValueError on a shape that cannot be drawn.
    """
    from PIL import Image, ImageDraw

    image = Image.new("L", (size[1], size[0]), background)
    draw = ImageDraw.Draw(image)
    for number, shape in enumerate(shapes):
        points = _checked_points(shape, number)
        if shape.kind == "mask":
            _paste(image, shape, points, number)
        else:
            _draw(draw, shape, points)
    return np.array(image)


def _checked_points(shape, number):
    place = f"shape {number} ({shape.kind})"
    if shape.kind not in POINTS:
        raise ValueError(f"{place}: unknown kind; known are {', '.join(POINTS)}")
    least, most = POINTS[shape.kind]
    points = [(float(x), float(y)) for x, y in shape.points]
    if not least <= len(points) <= most:
        expected = least if least == most else f"at least {least}"
        raise ValueError(f"{place}: has {len(points)} points, expected {expected}")
    if not np.isfinite(points).all():
        raise ValueError(f"{place}: a point is not a finite number")
    return points


def _draw(draw, shape, points):
    fill = shape.class_id
    if shape.kind in ("polygon", "oriented_rectangle"):
        draw.polygon(points, fill=fill)  # An outline, as labelme draws, adds no pixel.
    elif shape.kind == "rectangle":
        (x0, y0), (x1, y1) = points
        box = (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
        draw.rectangle(box, fill=fill, outline=fill)
    elif shape.kind == "circle":
        _disc(draw, points[0], math.dist(*points), fill)
    elif shape.kind == "line":
        draw.line(points, fill=fill, width=LINE_WIDTH)
    elif shape.kind == "linestrip":
        draw.line(points, fill=fill, width=LINE_WIDTH, joint="curve")
    else:
        for point in points:
            _disc(draw, point, POINT_RADIUS, fill)


def _disc(draw, center, radius, fill):
    x, y = center
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill, outline=fill)


def _paste(image, shape, points, number):
    """Pastes a mask at its box's corner; what lies outside the image is cut off."""
    from PIL import Image

    if shape.pixels is None or shape.pixels.ndim != 2:
        raise ValueError(f"shape {number} (mask): has no pixels")
    stencil = Image.fromarray(shape.pixels.astype(np.uint8) * 255)
    image.paste(shape.class_id, tuple(round(value) for value in points[0]), stencil)
