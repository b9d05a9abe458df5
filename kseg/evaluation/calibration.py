"""Whether a model's confidence can be believed: reliability diagram and ECE (Guo et al., 2017).

arXiv:1706.04599, section 2. Pixels take the place of their samples; NumPy only.
"""

from typing import NamedTuple

import numpy as np

from kseg.labels import IGNORE_ID

BINS = 15  # As in the paper's tables.
UNIT = 2**24  # Confidences are summed as whole numbers of 1/UNIT, a float32's own step near 1.


class Bin(NamedTuple):
    """Pixels whose confidence lies in one bin: their share of all, and the two means, 0..1."""

    share: float
    confidence: float
    accuracy: float


def counts(truth, logits):
    """Returns (BINS, 3) int64: pixels, right ones, and the sum of confidence in 1/UNIT.

    truth (..., ) integer ids, logits (..., C). A pixel's confidence is its highest softmax
    probability; bin i has those above i/BINS up to (i + 1)/BINS. Ignored pixels do not count.
    Integers add up to the same total in any order.
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


def ece(total):
    """Expected calibration error of summed `counts`, 0..1 (equation 3); None without pixels."""
    pixels, right, confidence = total.T
    if not pixels.sum():
        return None
    return float(np.abs(right - confidence / UNIT).sum() / pixels.sum())


def mean_confidence(total):
    """Mean confidence of all pixels of summed `counts`, 0..1; None without pixels."""
    pixels = int(total[:, 0].sum())
    return int(total[:, 2].sum()) / UNIT / pixels if pixels else None


def reliability(total):
    """Returns a Bin for each bin of summed `counts`, None for an empty one."""
    everything = int(total[:, 0].sum())
    return [
        Bin(pixels / everything, confidence / UNIT / pixels, right / pixels) if pixels else None
        for pixels, right, confidence in total.tolist()
    ]
