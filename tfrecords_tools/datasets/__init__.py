"""One file per source of labels; each has `source(data, ...)` that returns a Source."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from kseg.errors import InputError
from kseg.labels import LabelSet

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


class Frame(NamedTuple):
    """One labelled frame. label is a mask's Path, or whatever else its source's read_mask reads."""

    key: str
    image_path: Path
    label: Any


@dataclass(frozen=True)
class Card:
    """Where a data set comes from, for those who find its TFRecords later."""

    description: str
    homepage: str = ""
    license: str = ""
    citation: str = ""
    download: str = ""  # How to get it by hand.


@dataclass(frozen=True)
class Source:
    """A data set on disk: its classes, its frames by split, and how to read one mask.

    read_mask(frame, size) returns (H, W) uint8 class ids, 255 where ignored, for an image of size
    (height, width), which sources that draw their masks need. It raises InputError when the label
    cannot be of this data set, and is picklable: shards are written in other processes.
    """

    name: str
    labels: LabelSet
    splits: dict[str, list[Frame]]
    read_mask: Callable[[Frame, tuple[int, int]], np.ndarray]
    card: Card


def pair(image_dir, mask_dir, mask_suffix=".png", skip_unpaired=False):
    """Returns the Frames of two folders, matched by file name without suffix, sorted by key.

    Raises InputError on a missing or empty folder, and on an image without a mask or the
    reverse unless skip_unpaired.
    """
    images = _files_by_key(image_dir, IMAGE_SUFFIXES)
    masks = _files_by_key(mask_dir, (mask_suffix,))
    if not skip_unpaired:
        _refuse_unpaired(images, masks, image_dir, mask_dir)
    frames = [Frame(key, images[key], masks[key]) for key in sorted(images.keys() & masks.keys())]
    if not frames:
        raise InputError(f"{image_dir}: none of its images has a mask in {mask_dir}")
    return frames


def read_mask(frame, size):
    """The read_mask of sources whose masks are PNGs of our own ids."""
    return read_ids(frame.label)


def read_ids(path):
    """Reads a one-channel 8-bit PNG of class ids: (H, W) uint8. Raises InputError otherwise."""
    try:
        data = np.frombuffer(Path(path).read_bytes(), np.uint8)
    except OSError as error:
        raise InputError(f"{path}: mask cannot be read ({error.strerror})") from error
    mask = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    if mask is None:
        raise InputError(f"{path}: mask cannot be decoded; it is damaged or no PNG")
    if mask.ndim != 2 or mask.dtype != np.uint8:
        raise InputError(
            f"{path}: expected a one-channel 8-bit mask of class ids, got "
            f"{'x'.join(map(str, mask.shape))} {mask.dtype} (a colour map?)"
        )
    return mask


def _files_by_key(folder, suffixes):
    if not Path(folder).is_dir():
        raise InputError(f"{folder}: no such folder")
    files = sorted(p for p in Path(folder).iterdir() if p.suffix.lower() in suffixes)
    if not files:
        raise InputError(f"{folder}: no {' or '.join(suffixes)} files in it")
    by_key = {p.stem: p for p in files}
    if len(by_key) < len(files):
        twice = next(p for p in files if by_key[p.stem] != p)
        raise InputError(f"{twice}: {by_key[twice.stem].name} has the same name; keep one of them")
    return by_key


def _refuse_unpaired(images, masks, image_dir, mask_dir):
    for here, there, what, missing_in in (
        (images, masks, "image without a mask", mask_dir),
        (masks, images, "mask without an image", image_dir),
    ):
        alone = sorted(here.keys() - there.keys())
        if alone:
            more = f" and {len(alone) - 1} more" if len(alone) > 1 else ""
            raise InputError(
                f"{here[alone[0]]}{more}: {what} (none in {missing_in}); "
                "add what is missing or leave such frames out with --skip-unpaired"
            )
