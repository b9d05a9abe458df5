"""Labelled frames: those to verify a file on, and those to calibrate its quantization with."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from kseg.config import Config
from kseg.data import pipeline
from kseg.labels import IGNORE_ID

# Candidates for calibration. Of larger splits only every nth frame is one.
_MAX_CANDIDATES = 1000
_BRIGHTNESS_BANDS = 4


class Frame(NamedTuple):
    """image: (H, W, 3) uint8 RGB of the model's input size; mask: (H, W) uint8 class ids."""

    key: str
    image: np.ndarray
    mask: np.ndarray


def labelled(
    config: Config, split: str, count: int | None = None, every: int = 1
) -> Iterator[Frame]:
    """Yields up to `count` Frames of config.data in the order on disk, only every `every`th."""
    frames = pipeline.labelled_frames(config, split, every).unbatch()
    for frame in frames if count is None else frames.take(count):
        key, image, mask = (frame[name].numpy() for name in ("key", "image", "mask"))
        yield Frame(key.decode(), image.astype(np.uint8), mask.astype(np.uint8))


def calibration(config: Config, split: str, count: int) -> list[Frame]:
    """Returns up to `count` representative Frames of a split, the same on every call.

    Frames are divided into strata by the classes in them and by brightness (bands of equal size).
    Each stratum contributes equally, as far as it has frames, evenly spaced. So rare conditions
    (night, a rare class) are represented.
    """
    manifest, _ = pipeline.open_split(config, split)
    every = -(-manifest.splits[split].examples // _MAX_CANDIDATES)
    classes, brightness = [], []
    for frame in labelled(config, split, every=every):  # Not kept: 1000 frames need much memory.
        classes.append(tuple(np.setdiff1d(frame.mask, [IGNORE_ID])))
        brightness.append(frame.image.mean())
    rank = np.argsort(np.argsort(brightness, kind="stable"), kind="stable")
    bands = rank * _BRIGHTNESS_BANDS // len(rank)
    strata: dict[tuple, list[int]] = defaultdict(list)
    for index, stratum in enumerate(zip(classes, bands, strict=True)):
        strata[stratum].append(index)
    chosen = set(_share_out([strata[key] for key in sorted(strata)], count))
    frames = enumerate(labelled(config, split, every=every))
    return [frame for index, frame in frames if index in chosen]


def _share_out(groups: Sequence[Sequence[int]], count: int) -> Iterator[int]:
    """Yields `count` items of several lists, the same number from each as long as it has any."""
    quotas = [0] * len(groups)
    while sum(quotas) < min(count, sum(map(len, groups))):
        for i, group in enumerate(groups):
            if quotas[i] < len(group) and sum(quotas) < count:
                quotas[i] += 1
    for quota, group in zip(quotas, groups, strict=True):
        yield from (group[i * len(group) // quota] for i in range(quota))
