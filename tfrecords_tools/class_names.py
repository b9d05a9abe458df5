"""Label sets of tools that store class names only: colours, and which classes are drivable."""

import dataclasses
from collections.abc import Sequence

from kseg.errors import InputError, nearest
from kseg.labels import IGNORE_ID, LabelClass, LabelSet


def voc_color(index: int) -> tuple[int, int, int]:
    """Returns colour `index` of Pascal VOC's map, which labelme and CVAT use too: all differ.

    Bits 0, 3 and 6 of the index become the highest bits of red, bits 1, 4 and 7 of green, and bits
    2 and 5 of blue (VOC devkit, VOClabelcolormap.m).
    """
    color = [0, 0, 0]
    for bit in range(8):
        color[bit % 3] |= (index >> bit & 1) << 7 - bit // 3
    return color[0], color[1], color[2]


def label_set(name: str, colors: dict[str, tuple[int, int, int]], where: str) -> LabelSet:
    """Returns the LabelSet of {class name: colour}. Raises InputError on too few or one colour."""
    if not 2 <= len(colors) < IGNORE_ID:
        raise InputError(f"{where}: {len(colors)} classes, expected 2 to {IGNORE_ID - 1}")
    first: dict[tuple[int, int, int], str] = {}
    for class_name, color in colors.items():
        if color in first:
            raise InputError(
                f"{where}: '{first[color]}' and '{class_name}' have the same colour {color}; give "
                "each its own"
            )
        first[color] = class_name
    return LabelSet(name, tuple(LabelClass(n, color) for n, color in colors.items()))


def with_drivable(labels: LabelSet, names: Sequence[str]) -> LabelSet:
    """Marks the classes of these names as drivable. Raises InputError on an unknown name."""
    for name in names:
        if name not in labels.names:
            raise InputError(f"--drivable {name}: no such class; {nearest(name, labels.names)}")
    return LabelSet(
        labels.name,
        tuple(dataclasses.replace(c, drivable=c.name in names) for c in labels.classes),
    )
