"""Your own labels, in a plain folder.

    DATA/classes.json                   {"name": "my-task", "classes": [{"id": 0, "name": "road",
                                         "color": [219, 94, 86], "drivable": true}, ...],
                                         "mask_values": {"0": 0, "7": 1, "9": "ignore"}}
    DATA/images/[SPLIT/]KEY.{jpg,png}
    DATA/masks/[SPLIT/]KEY.png          class ids, palette indices, or the colours of classes.json

Without SPLIT folders (train, val, test) all frames are `train`; split them with --split.

Masks are read as ids (grey values of 1 to 16 bits, palette indices, or RGB with three equal
channels; 255 is ignored), or as the colours of classes.json (RGB, or a palette's colours). The
first masks decide which; where both are possible and differ, the build stops, and --mask-reading
decides. "mask_values" (or --mask-values) maps ids in the masks to class ids.
"""

from collections.abc import Iterable
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kseg.errors import InputError
from kseg.labels import IGNORE_ID, LabelSet
from kseg.paths import to_path
from kseg.preprocess import Size
from tfrecords_tools.datasets import (
    IMAGE_SUFFIXES,
    Card,
    Frame,
    LayoutError,
    Source,
    has_suffix,
    own_splits,
    pair_folders,
    read_json,
)
from tfrecords_tools.mask_file import MaskFile, read_png_mask
from tfrecords_tools.mask_values import Color, Values, by_color, by_id, parse_mask_values

READINGS = ("auto", "ids", "colors")

_SAMPLE = 25  # Masks of each split that decide how all are read.
_SEARCH = 1000  # Masks that are searched for a class which none of the sample has.


class Coding(NamedTuple):
    """The meaning of values in masks. mapped: whether `table` was given and is not the ids."""

    table: dict[int, int]
    palette: dict[Color, int]
    mapped: bool
    names: list[str]


def source(
    data: Path | str,
    *,
    mask_values: list[str] | None = None,
    reading: str = "auto",
    skip_unpaired: bool = False,
) -> Source:
    """Returns the Source of a plain folder.

    mask_values: pairs "VALUE:ID", which replace those of classes.json. reading: one of READINGS.
    Raises InputError, also where the masks can be read in two ways.
    """
    root = to_path(data)
    if not root.is_dir():
        raise LayoutError(f"{data}: no such folder")
    path = root / "classes.json"
    labels, coding = read_classes(path, mask_values)
    images, masks = root / "images", root / "masks"
    folders = _pairs_of_folders(images, masks, skip_unpaired)
    splits = {n: pair_folders(*pair, skip_unpaired=skip_unpaired) for n, pair in folders.items()}
    frames = [frame for part in splits.values() for frame in _spread(part, _SAMPLE)]
    samples = _read_samples(frames)
    if reading == "auto":
        reading = choose_reading(samples, coding, masks)
    if reading == "ids" and not coding.mapped:
        refuse_255_as_class(chain(samples, _others(splits, frames)), coding, masks)
    origin = _describe(samples, reading, coding)
    reader = partial(read_labels, reading=reading, coding=coding)
    return Source(labels.name, labels, splits, reader, Card(f"Labels of {data}."), origin)


def _pairs_of_folders(images, masks, skip_unpaired):
    """{split: (its images, its masks)}.

    Raises InputError where one of the two is missing, unless skip_unpaired.
    """
    for folder in (images, masks):
        if not folder.is_dir():
            raise LayoutError(f"{folder}: no such folder")
    of_images = own_splits(images, partial(has_suffix, suffixes=IMAGE_SUFFIXES))
    of_masks = own_splits(masks, partial(has_suffix, suffixes=(".png",)))
    only_one = sorted(of_images.keys() ^ of_masks.keys())
    for name in [] if skip_unpaired else only_one:
        found, missing = (images, masks) if name in of_images else (masks, images)
        raise LayoutError(
            f"{found} has a folder '{name}' and {missing} has none; give both the same folders, or "
            "leave such frames out with --skip-unpaired"
        )
    return {n: (of_images[n], of_masks[n]) for n in of_images if n in of_masks}


def read_classes(path: Path, mask_values: list[str] | None = None) -> tuple[LabelSet, Coding]:
    """Reads classes.json. Raises InputError when it is missing or wrong."""
    if not path.is_file():
        raise InputError(
            f"{path}: no such file; it must list the classes (see tfrecords_tools/README.md)"
        )
    document = read_json(path, dict)
    labels = LabelSet.from_dict(document, where=str(path))
    refuse_equal_colors(labels, path)
    stored = document.get("mask_values") or {}
    where = "--mask-values" if mask_values else f"{path}: mask_values"
    pairs = mask_values or [f"{value}:{class_id}" for value, class_id in dict(stored).items()]
    classes = len(labels.classes)
    table = parse_mask_values(pairs, classes, where) or {i: i for i in range(classes)}
    palette = {color: i for i, color in enumerate(labels.palette)}
    return labels, Coding(table, palette, bool(pairs), labels.names)


def refuse_equal_colors(labels: LabelSet, path: Path) -> None:
    """Raises InputError when two classes have one colour."""
    first: dict[Color, str] = {}
    for c in labels.classes:
        if c.color in first:
            raise InputError(
                f"{path}: classes '{first[c.color]}' and '{c.name}' have the same colour "
                f"{list(c.color)}, so no overlay could distinguish them; give each its own"
            )
        first[c.color] = c.name


def read_labels(frame: Frame, size: Size, reading: str, coding: Coding) -> np.ndarray:
    """read_mask for one reading, "ids" or "colors"."""
    file = read_png_mask(frame.label)
    values = _read(file, reading, coding)
    if values is not None and not values.unknown:
        return values.mask
    raise InputError(f"{frame.label}: {_reason(file, values, reading, coding)}")


def choose_reading(samples: list[tuple[Path, MaskFile]], coding: Coding, masks: Path) -> str:
    """Returns "ids" or "colors". Raises InputError when both or neither can be meant."""
    only: dict[str, list[Path]] = {"ids": [], "colors": []}  # Masks that fit one reading.
    doubtful, fit_both = [], False
    for path, file in samples:
        found = {name: _read(file, name, coding) for name in only}
        fits = {name: v.mask for name, v in found.items() if v is not None and not v.unknown}
        if len(fits) == 1:
            only[next(iter(fits))].append(path)
        elif fits and np.array_equal(fits["ids"], fits["colors"]):
            fit_both = True
        elif fits:
            doubtful.append(f"{path} ({file.encoding})")
    ids, colors = only["ids"], only["colors"]
    if ids and colors:
        raise InputError(
            f"{masks}: {ids[0].name} holds class ids and {colors[0].name} colours; export all "
            "masks in one format"
        )
    if ids or colors:
        return "ids" if ids else "colors"
    if doubtful:
        raise InputError(
            f"{doubtful[0]}: its values are class ids, and also colours of classes.json, with "
            "another meaning; choose with --mask-reading ids or --mask-reading colors"
        )
    reading = "colors" if any(file.has_colors for _, file in samples) else "ids"
    if samples and not fit_both:
        path, file = samples[0]
        reason = _reason(file, _read(file, reading, coding), reading, coding)
        raise InputError(f"{path}: {reason}")
    return reading


def refuse_255_as_class(
    masks: Iterable[tuple[Path, MaskFile]], coding: Coding, folder: Path
) -> None:
    """Raises InputError when 255 may be a class: one has no pixel and there are enough values."""
    present: set[int] = set()
    for _, file in masks:
        present.update(np.flatnonzero(np.bincount(file.array.ravel())).tolist())
        if present >= set(coding.table):
            return
    missing = sorted(set(coding.table) - present)
    if IGNORE_ID in present and missing and len(present) == len(coding.table):
        name = coding.names[missing[0]]
        listed = " ".join(f"{i}:{i}" for i in sorted(present - {IGNORE_ID}))
        raise InputError(
            f"{folder}: the masks hold the values {sorted(present)} and no pixel of class "
            f"'{name}'; if 255 is '{name}', add --mask-values {listed} 255:{missing[0]}; if 255 is "
            f"to be ignored, add --mask-values {listed} 255:ignore"
        )


def _read(file: MaskFile, reading: str, coding: Coding) -> Values | None:
    return by_id(file, coding.table) if reading == "ids" else by_color(file, coding.palette)


def _reason(file, values, reading, coding):
    if values is None:
        return f"holds {file.encoding}, which cannot be read as {reading}; see --mask-reading"
    shown = ", ".join(map(str, values.unknown[:5]))
    shown += f" and {len(values.unknown) - 5} more" if len(values.unknown) > 5 else ""
    if reading == "ids":
        known = ", ".join(map(str, coding.table))
        return (
            f"ids {shown} in the mask ({file.encoding}); known are {known}, and 255 is ignored; "
            f"map others with --mask-values, such as {values.unknown[0]}:0 or "
            f"{values.unknown[0]}:ignore"
        )
    return (
        f"colours {shown} in the mask ({file.encoding}); classes.json has "
        f"{', '.join(map(str, coding.palette))}; add the class, or export without smoothing"
    )


def _describe(samples, reading, coding):
    encodings = " and ".join(sorted({file.encoding for _, file in samples})) or "unreadable"
    if reading == "colors":
        return f"masks: {encodings}, read as the colours of classes.json"
    if not coding.mapped:
        return f"masks: {encodings}"
    pairs = (f"{v}:{'ignore' if i == IGNORE_ID else i}" for v, i in coding.table.items())
    return f"masks: {encodings}, mapped {' '.join(pairs)}"


def _spread(frames, count):
    return frames[:: max(1, len(frames) // count)][:count]


def _others(splits, frames):
    chosen = {frame.label for frame in frames}
    every = chain.from_iterable(splits.values())
    others = [frame for frame in every if frame.label not in chosen][:_SEARCH]
    return chain.from_iterable(_read_samples([frame]) for frame in others)


def _read_samples(frames: list[Frame]) -> list[tuple[Path, MaskFile]]:
    """Reads masks; leaves out those that cannot be read, which the conversion reports."""
    samples = []
    for frame in frames:
        try:
            samples.append((frame.label, read_png_mask(frame.label)))
        except InputError:
            continue
    return samples
