"""One file per source of labels; each has `source(data, ...)` that returns a Source."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np

from kseg.errors import InputError
from kseg.labels import IGNORE_ID, LabelSet
from kseg.paths import is_remote, to_path

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
SPLITS = ("train", "val", "test")


class Frame(NamedTuple):
    """One labelled frame. `label` is a file's path, or what else the source's read_mask reads.

    A label that is no path can be pickled, and has `where`: the words that name it in an error.
    """

    key: str
    image_path: os.PathLike
    label: Any

    @property
    def where(self):
        """Names the frame's label in an error."""
        return where(self.label)


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

    read_mask(frame, size) returns (H, W) uint8 class ids, 255 where ignored; `size` is the
    image's (height, width), and whoever calls compares. It raises InputError when the label
    cannot be this data set's, and can be pickled: shards are written in other processes.
    `origin` says which of several kinds of label was read.
    """

    name: str
    labels: LabelSet
    splits: dict[str, list[Frame]]
    read_mask: Callable[[Frame, tuple[int, int]], np.ndarray]
    card: Card
    origin: str = ""


def where(label):
    return str(getattr(label, "where", label))


def fingerprint(label):
    """A string that changes when a frame's image or label does, as far as cheap looks can tell."""
    if isinstance(label, os.PathLike):
        try:
            stat = label.stat()
        except OSError:
            return "missing"  # The conversion's to report.
        if is_remote(label):
            return f"{stat.length} {stat.mtime}"
        return f"{stat.st_size} {stat.st_mtime_ns}"
    paths = isinstance(label, tuple) and all(isinstance(part, os.PathLike) for part in label)
    return " ".join(map(fingerprint, label)) if paths else repr(label)


def split_folders(folder, names=SPLITS):
    """Returns those of `names` that are folders in `folder`. Raises InputError if none is."""
    present = [name for name in names if (folder / name).is_dir()]
    if not present:
        raise InputError(f"{folder}: none of {', '.join(f'{n}/' for n in names)} in it")
    return present


def pair(image_dir, mask_dir, mask_suffix=".png", skip_unpaired=False):
    """Returns the Frames of two folders, matched by file name without suffix, sorted by key.

    Raises InputError on a missing or empty folder, and on an image without a mask or the
    reverse unless skip_unpaired.
    """
    images = files_by_key(image_dir, IMAGE_SUFFIXES)
    masks = files_by_key(mask_dir, (mask_suffix,))
    return match(images, masks, image_dir, mask_dir, skip_unpaired)


def match(images, labels, image_dir, label_dir, skip_unpaired=False):
    """Returns the Frames of {key: image path} and {key: label}, sorted by key. Raises as `pair`."""
    if not skip_unpaired:
        _refuse_unpaired(images, labels, image_dir, label_dir)
    frames = [Frame(key, images[key], labels[key]) for key in sorted(images.keys() & labels.keys())]
    if not frames:
        raise InputError(f"{image_dir}: none of its images has a mask in {label_dir}")
    return frames


def files_by_key(folder, suffixes, pattern="*"):
    """Returns {file name without its suffix: path} of the files in `folder`, sorted.

    A suffix may be more than an extension ("_drivable_id.png"); `pattern` "*/*" looks one folder
    deeper. Raises InputError on a missing or empty folder and on a key that comes twice.
    """
    folder = to_path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    by_key = {}
    for path in sorted(folder.glob(pattern)):
        suffix = next((s for s in suffixes if path.name.lower().endswith(s.lower())), None)
        if suffix is None or path.name.startswith("."):
            continue
        key = path.name[: -len(suffix)]
        if key in by_key:
            raise InputError(f"{path}: {by_key[key].name} has the same name; keep one of them")
        by_key[key] = path
    if not by_key:
        raise InputError(f"{folder}: no {' or '.join(suffixes)} files in it")
    return by_key


def read_mask_file(frame, size):
    """The read_mask of sources whose files hold the class ids themselves."""
    return read_ids(frame.label)


def read_ids(path):
    """Reads a one-channel 8-bit PNG of class ids: (H, W) uint8. Raises InputError otherwise."""
    mask = decode(path)
    if mask.ndim != 2 or mask.dtype != np.uint8:
        raise InputError(
            f"{path}: expected a one-channel 8-bit mask of class ids, got "
            f"{'x'.join(map(str, mask.shape))} {mask.dtype} (a colour map?)"
        )
    return mask


def count_ids(mask):
    """Counts the ids of a (H, W) uint8 mask: (256,) int64."""
    # Ten times faster than np.bincount; its float32 is exact to 2**24 pixels, which no frame has.
    return cv2.calcHist([mask], [0], None, [256], [0, 256]).ravel().astype(np.int64)


def read_table(path, table, what):
    """Reads a PNG of ids through `table` {id in the file: class id}: (H, W) uint8.

    255 stays 255. Raises InputError naming an id that is not in the table, and whose it is not.
    """
    ids = read_ids(path)
    known = table | {IGNORE_ID: IGNORE_ID}
    wrong = [int(i) for i in np.flatnonzero(count_ids(ids)) if i not in known]
    if wrong:
        raise InputError(
            f"{path}: ids {wrong[:5]} in the mask; {what} has {min(table)} to {max(table)}, and "
            f"{IGNORE_ID} for ignored pixels"
        )
    lookup = np.zeros(256, np.uint8)
    lookup[list(known)] = list(known.values())
    return cv2.LUT(ids, lookup)


def read_colors(path, palette, what):
    """Reads a PNG of colours through `palette` {(r, g, b): class id}: (H, W) uint8.

    Transparency does not count. Raises InputError naming a colour that is not in the palette,
    its pixel, and whose palette it is.
    """
    image = decode(path)
    if image.ndim != 3 or image.dtype != np.uint8:
        raise InputError(f"{path}: expected a colour map, got one channel (a mask of class ids?)")
    blue, green, red = (image[..., channel].astype(np.int32) for channel in range(3))
    packed = red << 16 | green << 8 | blue
    mask, known = np.full(packed.shape, IGNORE_ID, np.uint8), np.zeros(packed.shape, bool)
    for (r, g, b), class_id in palette.items():
        here = packed == (r << 16 | g << 8 | b)
        mask[here] = class_id
        known |= here
    if not known.all():
        row, column = np.argwhere(~known)[0].tolist()
        color = tuple(image[row, column, 2::-1].tolist())
        raise InputError(
            f"{path}: colour {color} at row {row}, column {column}; {what} has {sorted(palette)}"
        )
    return mask


def decode(path):
    """Reads a mask file as OpenCV does. Raises InputError naming what is damaged."""
    try:
        data = np.frombuffer(to_path(path).read_bytes(), np.uint8)
    except OSError as error:
        raise InputError(f"{path}: mask cannot be read ({error.strerror})") from error
    mask = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    if mask is None:
        raise InputError(f"{path}: mask cannot be decoded; it is damaged or no PNG")
    return mask


def _refuse_unpaired(images, labels, image_dir, label_dir):
    for here, there, what, missing_in in (
        (images, labels, "image without a mask", label_dir),
        (labels, images, "mask without an image", image_dir),
    ):
        alone = sorted(here.keys() - there.keys())
        if alone:
            more = f" and {len(alone) - 1} more" if len(alone) > 1 else ""
            raise InputError(
                f"{where(here[alone[0]])}{more}: {what} (none in {missing_in}); "
                "add what is missing or leave such frames out with --skip-unpaired"
            )
