"""Class overlays for pages: every class has a pattern besides its colour."""

from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np

from kseg.labels import IGNORE_ID, LabelSet
from kseg.visualize.overlay import overlay

WIDTH = 480  # Pixels of an overlay on a page.
_PERIOD = 10


class Pattern(NamedTuple):
    """Lines over a class; `drawn(rows, columns)` is true for the pixels on a line."""

    name: str
    drawn: Callable[[Any, Any], Any]


# They distinguish classes without colour.
PATTERNS = (
    Pattern("stripes rising to the right", lambda y, x: (x + y) % _PERIOD < 2),
    Pattern("stripes falling to the right", lambda y, x: (x - y) % _PERIOD < 2),
    Pattern("level stripes", lambda y, x: y % _PERIOD < 2),
    Pattern("upright stripes", lambda y, x: x % _PERIOD < 2),
    Pattern("dots", lambda y, x: (x % _PERIOD < 4) & (y % _PERIOD < 4)),
    Pattern("grid", lambda y, x: (x % _PERIOD < 2) | (y % _PERIOD < 2)),
    Pattern("dense stripes rising", lambda y, x: (x + y) % 5 < 2),
    Pattern("dense stripes falling", lambda y, x: (x - y) % 5 < 2),
    Pattern("dense level stripes", lambda y, x: y % 5 < 2),
    Pattern("dense upright stripes", lambda y, x: x % 5 < 2),
    Pattern("diamonds", lambda y, x: ((x + y) % _PERIOD < 2) | ((x - y) % _PERIOD < 2)),
)


def pattern_name(labels: LabelSet, class_id: int) -> str:
    """Names the pattern of a class, for legends."""
    if not any(labels.palette[class_id]):
        return "left as it is"
    return PATTERNS[class_id % len(PATTERNS)].name


def pattern_overlay(image: np.ndarray, mask: np.ndarray, labels: LabelSet) -> np.ndarray:
    """(H, W, 3) uint8 RGB and (H, W) uint8 ids -> overlay with a pattern for each class.

    At most WIDTH wide. Black classes leave the image as it is; ignored pixels are darkened.
    """
    width = min(WIDTH, image.shape[1])
    size = (width, round(image.shape[0] * width / image.shape[1]))
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    # Nearest: anything else would invent class ids along borders.
    mask = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
    drawn = overlay(image, mask, labels)
    rows, columns = np.indices(mask.shape)
    for class_id, color in enumerate(labels.palette):
        if any(color):
            lines = PATTERNS[class_id % len(PATTERNS)].drawn(rows, columns)
            drawn[(mask == class_id) & lines] = color
    drawn[mask == IGNORE_ID] //= 3
    return drawn


def swatch(labels: LabelSet, class_id: int) -> np.ndarray:
    """(30, 50, 3) uint8 RGB: grey road under the colour and pattern of a class."""
    ids = np.full((30, 50), class_id, np.uint8)
    return pattern_overlay(np.full((30, 50, 3), 110, np.uint8), ids, labels)


def shrink(array: np.ndarray) -> np.ndarray:
    """Averages (H, W, ...) down to at most WIDTH columns.

    Of a float mask, every pixel above 0 contains at least one pixel that was set.
    """
    height, width = array.shape[:2]
    if width <= WIDTH:
        return array
    return cv2.resize(array, (WIDTH, round(height * WIDTH / width)), interpolation=cv2.INTER_AREA)


def darken(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB -> the image in dark grey, of 11 levels: noise would make a PNG large."""
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) // 24 * 8
    return np.repeat(gray[..., None], 3, axis=-1)
