"""Paints (RGB), and the random choice among them and around them."""

import numpy as np

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


def pick(rng, items):
    return items[int(rng.integers(len(items)))]


def jitter(rng, color, amount):
    """Returns colour with one brightness shift and small shifts per channel, clipped to 0..255."""
    shift = rng.uniform(-amount, amount) + rng.uniform(-amount / 5, amount / 5, 3)
    return tuple(np.clip(np.add(color, shift), 0, 255))
