"""Calibration of a model's confidence: reliability diagram and expected calibration error (ECE).

Guo et al., 2017, arXiv:1706.04599, section 2, with pixels as the samples. NumPy only.
"""

from typing import NamedTuple

import numpy as np

from kseg.labels import IGNORE_ID

BINS = 15  # As in the paper's tables.
UNIT = 2**24  # Confidences are summed as integers in units of 1/UNIT, float32's step below 1.


class Bin(NamedTuple):
    """The pixels whose confidence lies in one bin: their share of all pixels, mean confidence and
    accuracy, each 0..1."""

    share: float
    confidence: float
    accuracy: float


def counts(truth: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Returns (BINS, 3) int64: for each bin, all pixels, correct pixels, and summed confidence.

    truth (...,) integer ids, logits (..., C). A pixel's confidence is its highest softmax
    probability; bin i covers (i/BINS, (i + 1)/BINS]. Confidence is in units of 1/UNIT: sums of
    integers do not depend on their order. Ignored pixels do not count.
    """
    counted = truth != IGNORE_ID
    truth, logits = truth[counted], logits[counted].astype(np.float64)
    predicted = logits.argmax(axis=-1)
    confidence = 1 / np.exp(logits - logits.max(axis=-1, keepdims=True)).sum(axis=-1)
    bins = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    result = np.zeros((BINS, 3), np.int64)
    steps = np.rint(confidence * UNIT).astype(np.int64)
    for column, values in enumerate((np.ones_like(steps), predicted == truth, steps)):
        np.add.at(result[:, column], bins, values)
    return result


def ece(total: np.ndarray) -> float | None:
    """Expected calibration error of summed `counts`, 0..1 (equation 3); None without pixels."""
    pixels, correct, confidence = total.T
    if not pixels.sum():
        return None
    return float(np.abs(correct - confidence / UNIT).sum() / pixels.sum())


def mean_confidence(total: np.ndarray) -> float | None:
    """Mean confidence of all pixels of summed `counts`, 0..1; None without pixels."""
    pixels = int(total[:, 0].sum())
    return int(total[:, 2].sum()) / UNIT / pixels if pixels else None


def reliability(total: np.ndarray) -> list[Bin | None]:
    """Returns a Bin for each bin of summed `counts`, None for an empty one."""
    all_pixels = int(total[:, 0].sum())
    return [
        Bin(pixels / all_pixels, confidence / UNIT / pixels, correct / pixels) if pixels else None
        for pixels, correct, confidence in total.tolist()
    ]
