"""Synthetic camera frames, the same on every machine, for trying models without data."""

import numpy as np

from kseg.preprocess import Size

FRAMES = 10


def frames(size: Size) -> np.ndarray:
    """Returns all frames of a size (height, width): (FRAMES, height, width, 3) uint8 RGB."""
    return np.stack([frame(size, number) for number in range(FRAMES)])


def frame(size: Size, number: int) -> np.ndarray:
    """Returns frame `number`, (height, width, 3) uint8 RGB: sky, a road, grass and noise.

    deploy/cpp/run/doctor.cc draws the same frames, so that checksums of the class maps can be
    compared between kseg.doctor and kseg_run --doctor.
    """
    height, width = size
    y, x, channel = np.ogrid[:height, :width, :3]
    sky = 2 * y < height
    road = ~sky & (np.abs(x - width * (number + 5) // 20) < y - height // 3)
    ground = np.where(road, 90 + 5 * number, np.where(channel == 1, 120, 60))
    scene = np.where(sky, 150 + 30 * channel, ground)
    noise = _noise(12345 + number, scene.size).reshape(scene.shape)
    return np.minimum(scene + noise, 255).astype(np.uint8)


def _noise(seed: int, count: int) -> np.ndarray:
    """Returns the top 4 bits of the first `count` states of a linear congruential generator.

    state[n + 1] = (1664525 * state[n] + 1013904223) mod 2**32, computed for all n at once.
    """
    powers = np.full(count, 1664525, np.uint32).cumprod(dtype=np.uint32)
    sums = np.concatenate(([1], powers[:-1])).astype(np.uint32).cumsum(dtype=np.uint32)
    states: np.ndarray = powers * np.uint32(seed) + sums * np.uint32(1013904223)
    return (states >> 28).astype(int)
