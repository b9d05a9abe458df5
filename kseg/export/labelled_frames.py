"""Labelled frames to check a file on, and training frames to calibrate it with."""

from collections import defaultdict
from typing import NamedTuple

import numpy as np

from kseg.data import pipeline
from kseg.labels import IGNORE_ID

# Frames looked at before choosing; larger splits are thinned out evenly.
_LOOKED_AT = 1000
_BRIGHTNESS_BANDS = 4


class Frame(NamedTuple):
    """image (H, W, 3) uint8 RGB of the model's size, mask (H, W) uint8 ids."""

    key: str
    image: np.ndarray
    mask: np.ndarray


def labelled(config, split, count=None, every=1):
    """Yields up to `count` Frames of config.data, in the order on disk, only each `every`th."""
    frames = pipeline.labelled_frames(config, split, every).unbatch()
    for frame in frames if count is None else frames.take(count):
        key, image, mask = (frame[name].numpy() for name in ("key", "image", "mask"))
        yield Frame(key.decode(), image.astype(np.uint8), mask.astype(np.uint8))


def calibration(config, split, count):
    """Returns up to `count` Frames of a split that stand for all of it: the same on every call.

    Frames are sorted into strata by the classes they show and by brightness (bands of equal size);
    each stratum gives as many as any other, as far as it has them, spread over its length. So what
    is rare (night, a class seldom seen) is there.
    """
    manifest, _ = pipeline.open_split(config, split)
    every = -(-manifest.splits[split].examples // _LOOKED_AT)
    shown, brightness = [], []
    for frame in labelled(config, split, every=every):  # Not kept: a thousand frames are heavy.
        shown.append(tuple(np.setdiff1d(frame.mask, [IGNORE_ID])))
        brightness.append(frame.image.mean())
    rank = np.argsort(np.argsort(brightness, kind="stable"), kind="stable")
    bands = rank * _BRIGHTNESS_BANDS // len(rank)
    strata = defaultdict(list)
    for index, stratum in enumerate(zip(shown, bands, strict=True)):
        strata[stratum].append(index)
    chosen = set(_share_out([strata[key] for key in sorted(strata)], count))
    frames = enumerate(labelled(config, split, every=every))
    return [frame for index, frame in frames if index in chosen]


def _share_out(groups, count):
    """Takes `count` items from lists of lists, one from each in turn until a list has no more."""
    quotas = [0] * len(groups)
    while sum(quotas) < min(count, sum(map(len, groups))):
        for i, group in enumerate(groups):
            if quotas[i] < len(group) and sum(quotas) < count:
                quotas[i] += 1
    for quota, group in zip(quotas, groups, strict=True):
        yield from (group[i * len(group) // quota] for i in range(quota))
