"""Numbers of one class map: how much is drivable, where our lane lies, how far it is free.

All are of the picture: shares of it and image pixels, not metres.
"""

import cv2
import numpy as np

from kseg_run.errors import InputError
from kseg_run.fit import UNSEEN_ID

EGO = "direct"


class Measure:
    """(h, w) uint8 ids -> a dict for a line of JSON.

    drivable_share: drivable pixels / pixels that the model saw, 0..1; None where it saw none.
    rows: for each of `rows` (a share of the frame's height, 0 its top, below 1)
      row_px            the image row, y = floor(row x height), counted from 0 at the top
      centre_offset_px  middle of the ego lane's longest run of pixels in that row, minus the
                        middle of the frame, (width - 1) / 2; pixels, positive: the lane lies right
      width_px          that run's length, pixels
      free_px           from that middle upwards (away from the car), the row itself included: how
                        many image rows in succession are drivable; pixels
    These are None, free_px 0, where the row has no ego lane.
    `ego` names the ego lane's class; None: "direct" where the model has it, else all drivable ones.
    """

    def __init__(self, classes, rows, ego=None):
        names = {c["name"]: c["id"] for c in classes}
        if ego is not None and ego not in names:
            raise InputError(f"--ego {ego}: no class of this model ({', '.join(names)})")
        for row in rows:
            if not 0 <= row < 1:
                raise InputError(f"--rows {row:g}: expected a share of the frame's height, 0 to <1")
        self._rows = rows
        drivable = [c["id"] for c in classes if c["drivable"]]
        ego = ego or (EGO if EGO in names else None)
        self._drivable = _table(drivable)
        self._ego = _table([names[ego]] if ego else drivable)

    def __call__(self, class_map):
        height, width = class_map.shape
        drivable = cv2.LUT(class_map, self._drivable)
        seen = class_map.size - int(np.count_nonzero(class_map == UNSEEN_ID))
        share = cv2.countNonZero(drivable) / seen if seen else None
        rows = []
        for row in self._rows:
            y = int(row * height)
            start, length = longest_run(self._ego[class_map[y]])
            told = {"row": row, "row_px": y, "centre_offset_px": None, "width_px": 0, "free_px": 0}
            if length:
                middle = start + (length - 1) / 2
                column = drivable[: y + 1, int(middle)][::-1]
                told["centre_offset_px"] = middle - (width - 1) / 2
                told["width_px"] = length
                told["free_px"] = int(np.argmin(column)) if not column.all() else len(column)
            rows.append(told)
        return {"drivable_share": share and round(share, 6), "rows": rows}


def longest_run(line):
    """(n,) uint8, 0 or not -> (start, length) of the longest run that is not 0, of equals the
    first; (0, 0) where there is none."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], (line != 0).astype(np.int8), [0]))))
    starts, ends = edges[::2], edges[1::2]
    if not len(starts):
        return 0, 0
    longest = int(np.argmax(ends - starts))
    return int(starts[longest]), int(ends[longest] - starts[longest])


def _table(ids):
    table = np.zeros(256, np.uint8)
    table[ids] = 255
    return table
