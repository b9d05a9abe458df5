"""Boundary IoU (Cheng et al., 2021, arXiv:2103.16562): IoU of the strips along region borders.

Unlike plain IoU, it is sensitive to where exactly a border lies. NumPy and OpenCV only.
"""

import cv2
import numpy as np

from kseg.labels import IGNORE_ID, LabelSet
from kseg.preprocess import Size

DILATION = 0.02  # Width of the strip as a share of the image's diagonal, as in the paper.


def counts(truth: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns (C, 2) int64: for each class, the pixels in both strips and in either strip.

    truth, predicted: (H, W) uint8 ids of one image. The strip of a class is the set of its pixels
    within 2 % of the diagonal from the border of its region; the edge of the image is a border too.
    Pixels ignored in the truth belong to no class in the prediction either. The counts of several
    images can be added.
    """
    predicted = np.where(truth == IGNORE_ID, IGNORE_ID, predicted)
    pixels = width(truth.shape)
    result = np.zeros((num_classes, 2), np.int64)
    for c in range(num_classes):
        predicted_strip, true_strip = strip(predicted == c, pixels), strip(truth == c, pixels)
        result[c] = (predicted_strip & true_strip).sum(), (predicted_strip | true_strip).sum()
    return result


def width(size: Size) -> int:
    """Returns the width of the strips in pixels for images of a size (H, W)."""
    return max(1, round(DILATION * float(np.hypot(*size))))


def strip(region: np.ndarray, width: int) -> np.ndarray:
    """(H, W) bool -> (H, W) bool: pixels of the region up to `width` pixels from its border.

    Distances are Chebyshev distances, since the paper's code erodes by a 3x3 square.
    """
    square = np.ones((2 * width + 1,) * 2, np.uint8)
    inside = cv2.erode(
        region.astype(np.uint8), square, borderType=cv2.BORDER_CONSTANT, borderValue=0
    )
    return region & (inside == 0)


def scores(total: np.ndarray, labels: LabelSet) -> dict[str, float | None]:
    """(C, 2) sums of `counts` -> {"mean_boundary_iou", "boundary_iou/<class>"...}, 0..1.

    A class that occurs nowhere has None and is left out of the mean; without any class it is None.
    """
    values = [intersection / union if union else None for intersection, union in total.tolist()]
    present = [value for value in values if value is not None]
    by_class = {
        f"boundary_iou/{name}": value for name, value in zip(labels.names, values, strict=True)
    }
    return {"mean_boundary_iou": sum(present) / len(present) if present else None, **by_class}
