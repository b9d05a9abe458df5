"""Label flicker: the share of pixels that change class from one frame of a video to the next."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from kseg import preprocess
from kseg.labels import IGNORE_ID
from kseg.preprocess import Size

WIDTH = 640  # Wider frames are scaled to this width: optical flow costs more than the model.


class Change(NamedTuple):
    """Shares of pixels, from one frame to the next: 0..1, nan where no pixel counts.

    flicker: pixels whose class differs from the same pixel's in the frame before.
    motion_compensated: among pixels of known motion, those whose class differs from that of the
    same point of the scene in the frame before.
    traced: pixels of known motion.
    """

    flicker: float
    motion_compensated: float
    traced: float


class Flicker:
    """Measures the flicker of a video frame by frame.

    `changes` has a tuple for each frame but the first, with a Change for each class map.

    Plain flicker also counts correct changes, since the car moves. The motion-compensated number
    follows every pixel back by optical flow and compares the two classes there. This is the
    temporal consistency of Liu et al., 2020 (arXiv:2002.11433, section 4.1) and Varghese et al.,
    2020 (CVPR workshop Safe Artificial Intelligence for Automated Driving), with these differences:
    - They report the mean IoU of both maps; here it is the share of pixels that differ, so that it
      is comparable in kind with plain flicker.
    - The optical flow is DIS (Kroeger et al., 2016, arXiv:1603.03590) instead of a network.
    - Pixels do not count when they leave the frame, or when following the flow back and forth does
      not return to the start (Sundaram et al., 2010, equation 5).

    Errors of the flow along class borders remain in the number. It also counts other pixels than
    plain flicker does (only those of known motion, so less sky). Use it to compare runs on one
    video, not to compare videos, or the two numbers with each other.
    """

    def __init__(self) -> None:
        self.changes: list[tuple[Change, ...]] = []
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._gray: np.ndarray | None = None
        self._maps: list[np.ndarray] = []

    def add(self, frame: np.ndarray, class_maps: Sequence[np.ndarray]) -> None:
        """Adds the next frame (h, w, 3) uint8 RGB and its class maps (h, w) uint8, one per run.

        Pixels with IGNORE_ID do not count.
        """
        size = _measured_size(frame.shape[:2])
        gray = cv2.cvtColor(preprocess.resize_image(frame, size), cv2.COLOR_RGB2GRAY)
        maps = [preprocess.resize_mask(class_map, size) for class_map in class_maps]
        if self._gray is not None:
            backward = self._flow.calc(gray, self._gray, None)
            forward = self._flow.calc(self._gray, gray, None)
            rows, columns, known = trace(backward, forward)
            self.changes.append(
                tuple(
                    _change(before, now, before[rows, columns], known)
                    for before, now in zip(self._maps, maps, strict=True)
                )
            )
        self._gray, self._maps = gray, maps

    def summary(self) -> tuple[Change, ...]:
        """Returns the means over the video, one Change per run; empty for a single frame."""
        if not self.changes:
            return ()
        values = np.array(self.changes)  # (frames - 1, runs, 3)
        counted = ~np.isnan(values)
        totals = np.where(counted, values, 0).sum(0)
        with np.errstate(invalid="ignore"):
            return tuple(Change(*map(float, row)) for row in totals / counted.sum(0))


def trace(backward: np.ndarray, forward: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Finds where each pixel of a frame was in the frame before.

    backward (H, W, 2) float32: the flow (x, y) from the frame to the one before; forward: the flow
    in the other direction. Returns rows and columns (H, W) int of the nearest pixel, clipped to the
    frame, and known (H, W) bool: false where the pixel comes from outside or both flows disagree.
    """
    height, width = backward.shape[:2]
    rows, columns = np.indices((height, width))
    columns = np.rint(columns + backward[..., 0]).astype(int)
    rows = np.rint(rows + backward[..., 1]).astype(int)
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    rows, columns = rows.clip(0, height - 1), columns.clip(0, width - 1)
    returning = forward[rows, columns]
    error = np.square(backward + returning).sum(-1)
    motion = np.square(backward).sum(-1) + np.square(returning).sum(-1)
    return rows, columns, inside & (error <= 0.01 * motion + 0.5)


def _change(before, now, traced, known):
    counted = (before != IGNORE_ID) & (now != IGNORE_ID)
    known = known & (traced != IGNORE_ID) & (now != IGNORE_ID)
    return Change(
        _share(before != now, counted),
        _share(traced != now, known),
        float(known.mean()),
    )


def _share(differs: np.ndarray, counted: np.ndarray) -> float:
    return float(differs[counted].mean()) if counted.any() else float("nan")


def _measured_size(size: Size) -> Size:
    height, width = size
    if width <= WIDTH:
        return size
    return max(1, round(height * WIDTH / width)), WIDTH
