"""Kinds of failure that matter to a driver, measured on single frames.

Mean IoU weighs all pixels alike, but a car that drives onto invented road is worse than one that
brakes for a lost lane. NumPy only.
"""

from typing import NamedTuple

import numpy as np

from kseg.labels import IGNORE_ID, LabelSet

THRESHOLD = 0.01  # A frame has a failure from this share of its labelled pixels on.


class Failure(NamedTuple):
    """A kind of failure: its title, and which pixels count."""

    title: str
    description: str


def kinds(labels: LabelSet) -> list[Failure]:
    """Returns the kinds of failure that a label set can have, in the order of `counts`.

    Without drivable classes there are none. The first drivable class is the one to drive on first,
    as `direct` is among BDD100K's; the others can be taken for it.
    """
    drivable = [labels.names[i] for i in labels.drivable_ids]
    if not drivable:
        return []
    first, others = drivable[0], ", ".join(drivable[1:])
    found = [
        Failure("road invented beside", "predicted drivable with no drivable area below it"),
        Failure(
            "road over or behind an obstacle",
            "predicted drivable above the drivable area, in the same column of the image",
        ),
        Failure(f"{first} lost", f"{first}, predicted as another class"),
    ]
    if others:
        found.append(Failure(f"{others} taken for {first}", f"{others}, predicted as {first}"))
    return found


def counts(truth: np.ndarray, predicted: np.ndarray, labels: LabelSet) -> np.ndarray:
    """Returns (K,) int64: the pixels of each of the K `kinds` of failure in a frame.

    truth, predicted: (H, W) uint8 ids. Pixels ignored in the truth are no failures.
    """
    if not labels.drivable_ids:
        return np.zeros(0, np.int64)
    drivable = np.isin(truth, labels.drivable_ids)
    invented = np.isin(predicted, labels.drivable_ids) & ~drivable & (truth != IGNORE_ID)
    drivable_below = np.maximum.accumulate(drivable[::-1], axis=0)[::-1]
    first, *others = labels.drivable_ids
    masks = [
        invented & ~drivable_below,
        invented & drivable_below,
        (truth == first) & (predicted != first),
    ]
    if others:
        masks.append(np.isin(truth, others) & (predicted == first))
    return np.array([mask.sum() for mask in masks], np.int64)


def shares(failures: np.ndarray, labelled: np.ndarray) -> np.ndarray:
    """Returns (N, K) float, 0..1: failures (N, K) as shares of the N frames' labelled pixels.

    A frame without labelled pixels has 0.
    """
    return failures / np.maximum(labelled, 1)[:, None]
