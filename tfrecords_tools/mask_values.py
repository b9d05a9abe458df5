"""Turns the values of a mask file, ids or colours, into class ids, and finds out which they are."""

from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

from kseg.errors import InputError
from kseg.labels import IGNORE_ID
from tfrecords_tools.mask_file import MaskFile

Color = tuple[int, int, int]

_UNKNOWN = -1
_LOOKUP_SIZE = 65536  # Values of a 16-bit mask.


class Values(NamedTuple):
    """A mask whose values were mapped to class ids.

    mask: (H, W) uint8 class ids. unknown: the values, or colours (r, g, b), that belong to no
    class; unless it is empty, the mask is not valid.
    """

    mask: np.ndarray
    unknown: list


def by_id(file: MaskFile, table: dict[int, int]) -> Values | None:
    """Reads grey values, palette indices or three equal channels by `table` {value: class id}.

    255 is ignored unless the table has it. None when a mask in RGB has a pixel that is not grey.
    """
    values = file.array
    if file.has_colors:
        if (values[..., :1] != values[..., 1:]).any():
            return None
        values = np.ascontiguousarray(values[..., 0])
    table = {IGNORE_ID: IGNORE_ID} | table
    if values.dtype == np.uint8:
        # cv2's functions are ten times faster than NumPy's. Their float32 is exact up to 2**24
        # pixels, enough for frames.
        counts = cv2.calcHist([values], [0], None, [256], [0, 256]).ravel()
        unknown = [value for value in np.flatnonzero(counts).tolist() if value not in table]
        lookup = np.array([table.get(value, IGNORE_ID) for value in range(256)], np.uint8)
        return Values(cv2.LUT(values, lookup), unknown)
    lookup = np.full(_LOOKUP_SIZE, _UNKNOWN, np.int16)
    lookup[list(table)] = list(table.values())
    mapped = lookup[values]
    return Values(mapped.astype(np.uint8), np.unique(values[mapped == _UNKNOWN]).tolist())


def by_color(file: MaskFile, palette: dict[Color, int]) -> Values | None:
    """Reads RGB, a palette's colours or grey by `palette` {(r, g, b): class id}.

    Transparency is ignored. None for grey values above 255, which are no colours.
    """
    if file.palette is not None:
        indices = np.array([palette.get(tuple(color), _UNKNOWN) for color in file.palette.tolist()])
        mapped = indices[file.array]
        unknown = [tuple(file.palette[i].tolist()) for i in np.unique(file.array[mapped < 0])]
        return Values(mapped.astype(np.uint8), unknown)
    if not file.has_colors and file.array.max(initial=0) > 255:
        return None
    # Four bytes B, G, R, 255 are read as one number, which is much faster than shifting channels.
    code = cv2.COLOR_RGB2BGRA if file.has_colors else cv2.COLOR_GRAY2BGRA
    packed = cv2.cvtColor(file.array.astype(np.uint8), code).view("<u4")[..., 0] & 0xFFFFFF
    mapped = _color_lookup(tuple(palette.items()))[packed]
    unknown = [(v >> 16, v >> 8 & 255, v & 255) for v in np.unique(packed[mapped < 0]).tolist()]
    return Values(mapped.astype(np.uint8), unknown)


@lru_cache(maxsize=2)
def _color_lookup(palette: tuple[tuple[Color, int], ...]) -> np.ndarray:
    """(2**24,) int16: the class of every packed colour. Its 32 MB save a comparison per class."""
    lookup = np.full(1 << 24, _UNKNOWN, np.int16)
    for (red, green, blue), class_id in palette:
        lookup[red << 16 | green << 8 | blue] = class_id
    return lookup


def parse_mask_values(pairs: Iterable[str], classes: int, where: str) -> dict[int, int]:
    """["0:0", "255:1", "7:ignore"] -> {value in the masks: class id or 255}. Raises InputError."""
    table: dict[int, int] = {}
    for pair in pairs:
        value, colon, target = pair.partition(":")
        class_id = str(IGNORE_ID) if target == "ignore" else target
        if not colon or not value.isdecimal() or not class_id.isdecimal():
            raise InputError(f"{where} {pair}: expected VALUE:ID or VALUE:ignore, such as 255:1")
        if int(value) >= _LOOKUP_SIZE or int(value) in table:
            reason = "occurs twice" if int(value) in table else "is above 65535"
            raise InputError(f"{where} {pair}: value {value} {reason}")
        if int(class_id) >= classes and int(class_id) != IGNORE_ID:
            raise InputError(
                f"{where} {pair}: class ids are 0 to {classes - 1}, and `ignore` for pixels to "
                "leave out"
            )
        table[int(value)] = int(class_id)
    return table
