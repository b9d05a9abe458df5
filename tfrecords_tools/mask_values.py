"""Turns the values of a mask file, ids or colours, into class ids, and finds out which they are."""

from collections.abc import Iterable
from typing import NamedTuple

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
        values = values[..., 0]
    lookup = np.full(_LOOKUP_SIZE, _UNKNOWN, np.int16)
    for value, class_id in ({IGNORE_ID: IGNORE_ID} | table).items():
        lookup[value] = class_id
    mapped = lookup[values]
    unknown = np.unique(values[mapped == _UNKNOWN]).tolist()
    return Values(mapped.astype(np.uint8), unknown)


def by_color(file: MaskFile, palette: dict[Color, int]) -> Values | None:
    """Reads RGB, a palette's colours or grey by `palette` {(r, g, b): class id}.

    Transparency is ignored. None for grey values above 255, which are no colours.
    """
    if file.palette is not None:
        indices = np.array([palette.get(tuple(color), _UNKNOWN) for color in file.palette.tolist()])
        mapped = indices[file.array]
        unknown = [tuple(file.palette[i].tolist()) for i in np.unique(file.array[mapped < 0])]
        return Values(mapped.astype(np.uint8), unknown)
    if file.has_colors:
        packed = _pack(np.moveaxis(file.array.astype(np.int32), -1, 0))
    elif file.array.max(initial=0) > 255:
        return None
    else:
        packed = _pack([file.array.astype(np.int32)] * 3)
    mask, known = np.full(packed.shape, IGNORE_ID, np.uint8), np.zeros(packed.shape, bool)
    for color, class_id in palette.items():
        matches = packed == _pack(color)
        mask[matches] = class_id
        known |= matches
    unknown = [(v >> 16, v >> 8 & 255, v & 255) for v in np.unique(packed[~known]).tolist()]
    return Values(mask, unknown)


def _pack(channels):
    red, green, blue = channels
    return red << 16 | green << 8 | blue


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
