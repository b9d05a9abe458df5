"""Colours (RGB), and random choices and variations of them."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")
Color = tuple[float, float, float]  # Red, green, blue, 0..255.

YELLOW, WHITE = (214, 168, 46), (226, 226, 220)
GRASS = (92, 112, 62)
CAR_COLORS = (
    (225, 226, 228),
    (150, 154, 158),
    (92, 96, 102),
    (34, 35, 38),
    (44, 66, 118),
    (138, 32, 30),
    (186, 176, 150),
    (60, 84, 70),
)


def pick(rng: np.random.Generator, items: Sequence[T]) -> T:
    """Returns one of `items` at random."""
    return items[int(rng.integers(len(items)))]


def jitter(rng: np.random.Generator, color: Color | np.ndarray, amount: float) -> Color:
    """Returns the colour with a random brightness and small shifts by channel, within 0..255."""
    shift = rng.uniform(-amount, amount) + rng.uniform(-amount / 5, amount / 5, 3)
    return tuple(np.clip(np.add(color, shift), 0, 255))
