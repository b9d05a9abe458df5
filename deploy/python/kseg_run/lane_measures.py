"""Measures of a class map: drivable share, lane offset and free distance.

All are in image space (shares of the image and pixels), not in metres.
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from kseg_run.errors import InputError
from kseg_run.fit import UNSEEN_ID

EGO_CLASS = "direct"


class LaneMeasures:
    """Computes the measures of a class map, (h, w) uint8 ids, as a dict for a JSON line.

    drivable_share: drivable pixels / pixels that the model saw, 0..1; None where it saw none.
    rows: one dict for each of `rows` (share of the frame's height, 0 (top) to below 1)
      row               the given share
      row_px            image row, floor(row x height), 0 at the top
      centre_offset_px  centre of the ego lane's longest run of pixels in that row minus the
                        frame's centre, (width - 1) / 2; pixels, positive: the lane lies right;
                        None where the row has no ego lane
      width_px          length of that run, pixels; 0 where the row has no ego lane
      free_px           consecutive drivable rows from that centre upwards (away from the car),
                        including the row itself; 0 where the row has no ego lane
    ego: name of the ego lane's class; None: "direct" if the model has it, else all drivable
    classes. Raises InputError for an unknown class and for rows outside [0, 1).

    Without a drivable class, drivable_share and free_px are None.
    """

    def __init__(self, classes: Sequence[dict], rows: Sequence[float], ego: str | None = None):
        ids = {c["name"]: c["id"] for c in classes}
        if ego is not None and ego not in ids:
            raise InputError(f"--ego {ego}: not a class of this model ({', '.join(ids)})")
        for row in rows:
            if not 0 <= row < 1:
                raise InputError(
                    f"--rows {row:g}: expected a share of the frame's height, from 0 to below 1"
                )
        self._rows = rows
        drivable = [c["id"] for c in classes if c["drivable"]]
        self._has_drivable = bool(drivable)
        ego = ego or (EGO_CLASS if EGO_CLASS in ids else None)
        self._is_drivable = _lookup_table(drivable)
        self._is_ego = _lookup_table([ids[ego]] if ego else drivable)

    def __call__(self, class_map: np.ndarray) -> dict[str, Any]:
        drivable = cv2.LUT(class_map, self._is_drivable)
        seen = class_map.size - int(np.count_nonzero(class_map == UNSEEN_ID))
        share = cv2.countNonZero(drivable) / seen if seen and self._has_drivable else None
        rows = [self._measure_row(class_map, drivable, row) for row in self._rows]
        return {"drivable_share": share and round(share, 6), "rows": rows}

    def _measure_row(
        self, class_map: np.ndarray, drivable: np.ndarray, row: float
    ) -> dict[str, Any]:
        height, width = class_map.shape
        y = int(row * height)
        start, length = longest_run(self._is_ego[class_map[y]])
        measures: dict[str, Any] = {
            **{"row": row, "row_px": y, "centre_offset_px": None, "width_px": 0},
            "free_px": 0 if self._has_drivable else None,
        }
        if length:
            centre = start + (length - 1) / 2
            upwards = drivable[: y + 1, int(centre)][::-1]
            measures["centre_offset_px"] = centre - (width - 1) / 2
            measures["width_px"] = length
            if self._has_drivable:
                measures["free_px"] = len(upwards) if upwards.all() else int(np.argmin(upwards))
        return measures


def longest_run(line: np.ndarray) -> tuple[int, int]:
    """Returns (start, length) of the longest run of nonzero values in a (n,) uint8 array.

    Of equally long runs, the first; (0, 0) where there is none.
    """
    edges = np.flatnonzero(np.diff(np.concatenate(([0], (line != 0).astype(np.int8), [0]))))
    starts, ends = edges[::2], edges[1::2]
    if not len(starts):
        return 0, 0
    longest = int(np.argmax(ends - starts))
    return int(starts[longest]), int(ends[longest] - starts[longest])


def _lookup_table(ids: Sequence[int]) -> np.ndarray:
    """Returns a (256,) uint8 table: 255 for the given ids, else 0."""
    table = np.zeros(256, np.uint8)
    table[ids] = 255
    return table
