"""Label flicker: how many pixels change class from one frame of a video to the next."""

from typing import NamedTuple

import cv2
import numpy as np

from kseg import preprocess
from kseg.labels import IGNORE_ID

WIDTH = 640  # Wider frames are measured at this width: optical flow costs more than the model.


class Change(NamedTuple):
    """From one frame to the next. Shares in [0, 1], nan where no pixel counts.

    flicker: of the pixels of both frames, those of another class.
    motion_compensated: of the pixels whose motion is known, those of another class than the point
    of the street that they show had one frame before.
    traced: the share of pixels whose motion is known.
    """

    flicker: float
    motion_compensated: float
    traced: float


class Flicker:
    """Measures a video frame by frame; `changes` holds a Change for each frame but the first.

    Plain flicker also counts what rightly changes, since the car moves. The motion-compensated
    number follows every pixel back by optical flow and compares the two classes there, the temporal
    consistency of Liu et al., 2020 (arXiv:2002.11433, section 4.1) and Varghese et al., 2020
    (CVPR workshop Safe Artificial Intelligence for Automated Driving). Deliberately different: they
    give the mean IoU of both maps, this is the share of pixels that differ, so that both numbers
    here mean the same; DIS flow (Kroeger et al., 2016, arXiv:1603.03590) in place of a network;
    and pixels that leave the frame, or whose flow there and back does not end where it began
    (Sundaram et al., 2010, equation 5), do not count. Errors of the flow along class borders
    remain in the number, and it counts other pixels than the plain one (known motion only, so less
    sky): it compares runs on one video, rather than videos or the two numbers with each other.
    """

    def __init__(self):
        self.changes = []
        self._flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._gray, self._maps = None, None

    def add(self, frame, class_maps):
        """Adds the next frame, (h, w, 3) uint8 RGB, and its class maps (h, w) uint8 of any runs.

        IGNORE_ID marks pixels that do not count. `changes` gets a tuple with a Change per map.
        """
        size = _measured_size(frame.shape[:2])
        gray = cv2.cvtColor(preprocess.resize_image(frame, size), cv2.COLOR_RGB2GRAY)
        maps = [preprocess.resize_mask(class_map, size) for class_map in class_maps]
        if self._gray is not None:
            back = self._flow.calc(gray, self._gray, None)
            forth = self._flow.calc(self._gray, gray, None)
            rows, columns, known = trace(back, forth)
            self.changes.append(
                tuple(
                    _change(before, now, before[rows, columns], known)
                    for before, now in zip(self._maps, maps, strict=True)
                )
            )
        self._gray, self._maps = gray, maps

    def summary(self):
        """Means over the video, one Change per run; nan for a video of one frame."""
        if not self.changes:
            return ()
        values = np.array(self.changes)  # (frames - 1, runs, 3)
        counted = ~np.isnan(values)
        totals = np.where(counted, values, 0).sum(0)
        with np.errstate(invalid="ignore"):
            return tuple(Change(*map(float, row)) for row in totals / counted.sum(0))


def trace(back, forth):
    """Where each pixel of a frame was in the frame before.

    back (H, W, 2) float32: the flow (x, y) from a frame to the one before; forth: from that one to
    the frame. Returns rows and columns (H, W) int of the nearest pixel, clipped to the frame, and
    known (H, W) bool: false where the pixel comes from outside or both flows disagree.
    """
    height, width = back.shape[:2]
    rows, columns = np.indices((height, width))
    columns = np.rint(columns + back[..., 0]).astype(int)
    rows = np.rint(rows + back[..., 1]).astype(int)
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    rows, columns = rows.clip(0, height - 1), columns.clip(0, width - 1)
    returning = forth[rows, columns]
    off = np.square(back + returning).sum(-1)
    moved = np.square(back).sum(-1) + np.square(returning).sum(-1)
    return rows, columns, inside & (off <= 0.01 * moved + 0.5)


def _change(before, now, traced, known):
    counted = (before != IGNORE_ID) & (now != IGNORE_ID)
    known = known & (traced != IGNORE_ID) & (now != IGNORE_ID)
    return Change(
        _share(before != now, counted),
        _share(traced != now, known),
        float(known.mean()),
    )


def _share(true, among):
    return float(true[among].mean()) if among.any() else float("nan")


def _measured_size(size):
    height, width = size
    if width <= WIDTH:
        return size
    return max(1, round(height * WIDTH / width)), WIDTH
