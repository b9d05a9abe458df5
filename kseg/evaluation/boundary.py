"""Boundary IoU (Cheng et al., 2021, arXiv:2103.16562): IoU of the strips along the borders.

IoU over whole regions hardly notices where a border lies; this does. NumPy and OpenCV only.
"""

import cv2
import numpy as np

from kseg.labels import IGNORE_ID

DILATION = 0.02  # Width of the strip as a share of the image's diagonal, as in the paper.


def counts(truth, predicted, num_classes):
    """Returns (C, 2) int64: pixels in both strips and in either strip, for each class.

    truth, predicted: (H, W) uint8 ids of one image. A class's strip is the part of its region not
    further than 2 % of the diagonal from the region's border; the image's edge is a border.
    Ignored pixels are of no class in truth and prediction alike. Add up over images.
    """
    predicted = np.where(truth == IGNORE_ID, IGNORE_ID, predicted)
    pixels = width(truth.shape)
    result = np.zeros((num_classes, 2), np.int64)
    for c in range(num_classes):
        ours, theirs = strip(predicted == c, pixels), strip(truth == c, pixels)
        result[c] = (ours & theirs).sum(), (ours | theirs).sum()
    return result


def width(size):
    """(H, W) -> how many pixels wide a strip is."""
    return max(1, round(DILATION * float(np.hypot(*size))))


def strip(region, width):
    """(H, W) bool -> (H, W) bool: pixels of the region up to `width` pixels from its border.

    Distance is counted in king's moves, as the paper's code erodes by a 3x3 square.
    """
    square = np.ones((2 * width + 1,) * 2, np.uint8)
    inside = cv2.erode(
        region.astype(np.uint8), square, borderType=cv2.BORDER_CONSTANT, borderValue=0
    )
    return region & (inside == 0)


def scores(total, labels):
    """(C, 2) sums of `counts` -> {"mean_boundary_iou", "boundary_iou/<class>"...}, 0..1.

    None for a class that is nowhere, which is left out of the mean.
    """
    values = [both / either if either else None for both, either in total.tolist()]
    present = [value for value in values if value is not None]
    by_class = {
        f"boundary_iou/{name}": value for name, value in zip(labels.names, values, strict=True)
    }
    return {"mean_boundary_iou": sum(present) / max(1, len(present)), **by_class}
