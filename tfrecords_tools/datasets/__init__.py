"""Sources of labelled frames: one module each, whose `source(data, ...)` returns a Source."""

import json
import os
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from kseg import image_file
from kseg.errors import InputError
from kseg.labels import IGNORE_ID, LabelSet
from kseg.paths import is_remote, to_path
from kseg.preprocess import Size
from tfrecords_tools.mask_file import read_png_mask
from tfrecords_tools.mask_values import by_color

IMAGE_SUFFIXES = image_file.SUFFIXES
SPLITS = ("train", "val", "test")


class Frame(NamedTuple):
    """One labelled frame. `label` is a path, or another value that the source's read_mask reads.

    A label that is no path can be pickled, and has `where`: the words that identify it in an error.
    """

    key: str
    image_path: Path
    label: Any

    @property
    def where(self) -> str:
        """The words that identify the frame's label in an error."""
        return where(self.label)


@dataclass(frozen=True)
class Card:
    """Origin of a data set; build writes it beside the TFRecords."""

    description: str
    homepage: str = ""
    license: str = ""
    citation: str = ""
    download: str = ""  # How to obtain it; nothing downloads it automatically.


@dataclass(frozen=True)
class Source:
    """A data set on disk: its classes, its frames by split, and how to read one mask.

    read_mask(frame, size) returns (H, W) uint8 class ids, 255 where ignored. `size` is the image's
    (height, width); the caller checks that the mask has it. read_mask raises InputError when the
    label is corrupt or of another data set, and can be pickled, as shards are written in other
    processes. `origin` is the kind of label, for sources that have several. `drive_pattern` is a
    regular expression that finds the drive in a frame's name, "" if names hold none.
    """

    name: str
    labels: LabelSet
    splits: dict[str, list[Frame]]
    read_mask: Callable[[Frame, Size], np.ndarray]
    card: Card
    origin: str = ""
    drive_pattern: str = ""


class LayoutError(InputError):
    """Files are not where a source looks for them. build adds where that is."""


def where(label: Any) -> str:
    """Returns the words that identify a label in an error."""
    return str(getattr(label, "where", label))


def fingerprint(label: Any) -> str:
    """Returns a string that changes with a frame's image or label.

    Of files it holds size and time, not the content. Of other labels it is their repr: names of
    classes and fields in it belong to the digest by which finished shards are recognised.
    """
    if isinstance(label, os.PathLike):
        try:
            stat = label.stat()  # type: ignore[attr-defined]
        except OSError:
            return "missing"  # The conversion reports it.
        if is_remote(label):
            return f"{stat.length} {stat.mtime}"
        return f"{stat.st_size} {stat.st_mtime_ns}"
    paths = isinstance(label, tuple) and all(isinstance(part, os.PathLike) for part in label)
    return " ".join(map(fingerprint, label)) if paths else repr(label)


def split_folders(folder: Path, names: tuple[str, ...] = SPLITS) -> list[str]:
    """Returns those of `names` that are folders in `folder`. Raises LayoutError if none is."""
    present = [name for name in names if (folder / name).is_dir()]
    if not present:
        raise LayoutError(f"{folder}: contains none of {', '.join(f'{n}/' for n in names)}")
    return present


def own_splits(folder: Path, is_read: Callable[[Path], bool]) -> dict[str, Path]:
    """Returns {split: folder} of the folders train, val and test, of data without a fixed layout.

    {"train": folder} where it has none of them. Raises InputError on a file for which is_read is
    true and that would be left out: beside such folders, or in folders of other names.
    """
    splits = {name: folder / name for name in SPLITS if (folder / name).is_dir()}
    for path in sorted(folder.iterdir()):
        if path.name in splits or image_file.is_system_name(path.name):
            continue
        inside = path.rglob("*") if path.is_dir() else [path] if splits else ()
        left_out = next((p for p in inside if _is_visible(p) and is_read(p)), None)
        if left_out:
            there = " and ".join(splits) if splits else "it"
            raise InputError(
                f"{left_out}: would be left out, because files of {folder} are read from {there} "
                f"only; move it, or rename its folder to one of {', '.join(SPLITS)}"
            )
    return splits or {"train": folder}


def has_suffix(path: Path, suffixes: tuple[str, ...]) -> bool:
    """Whether a file name ends with one of `suffixes`, in letters of any case."""
    return path.name.lower().endswith(suffixes)


def _is_visible(path):
    return not image_file.is_system_name(path.name)


def pair_folders(image_dir: Path, mask_dir: Path, *, skip_unpaired: bool = False) -> list[Frame]:
    """Pairs images with PNG masks of the same file name. Returns the Frames, sorted by key.

    Raises InputError on a missing or empty folder, and on an image without a mask or the reverse
    unless skip_unpaired.
    """
    images = files_by_key(image_dir, IMAGE_SUFFIXES)
    masks = files_by_key(mask_dir, (".png",))
    return pair(images, masks, image_dir, mask_dir, skip_unpaired=skip_unpaired)


def pair(
    images: dict[str, Path],
    labels: dict[str, Any],
    image_dir: Path,
    label_dir: Path,
    *,
    skip_unpaired: bool = False,
) -> list[Frame]:
    """Pairs {key: image path} with {key: label}. Returns the Frames, sorted by key.

    The folders serve for errors. Raises InputError on an image without a label or the reverse
    unless skip_unpaired, and when no pair remains.
    """
    if not skip_unpaired:
        _refuse_unpaired(images, labels, image_dir, label_dir)
    frames = [Frame(key, images[key], labels[key]) for key in sorted(images.keys() & labels.keys())]
    if not frames:
        raise LayoutError(f"{image_dir}: no image has the name of a label in {label_dir}")
    return frames


def files_by_key(
    folder: Path, suffixes: tuple[str, ...], pattern: str = "*", *, folder_in_key: bool = False
) -> dict[str, Path]:
    """Returns {file name without its suffix: path} of the files in `folder`, sorted.

    A suffix may be more than an extension ("_drivable_id.png"). `pattern` "*/*" finds the files one
    folder deeper; folder_in_key puts that folder's name and "_" before the key. Raises LayoutError
    on a missing or empty folder, InputError on two files of one key. Keys are in Unicode's form
    NFC: macOS writes names in NFD, and then a mask would not find its image.
    """
    folder = to_path(folder)
    if not folder.is_dir():
        raise LayoutError(f"{folder}: no such folder")
    by_key: dict[str, Path] = {}
    for path in sorted(folder.glob(pattern)):
        suffix = next((s for s in suffixes if path.name.lower().endswith(s.lower())), None)
        inside = (path.parent.name, path.name)[-len(Path(pattern).parts) :]
        if suffix is None or any(map(image_file.is_system_name, inside)):
            continue
        key = path.name[: -len(suffix)]
        if folder_in_key:
            key = f"{path.parent.name}_{key}"
        key = unicodedata.normalize("NFC", key)
        if key in by_key:
            raise InputError(f"{path}: {by_key[key].name} has the same name; keep one of them")
        by_key[key] = path
    if not by_key:
        raise LayoutError(f"{folder}: contains no {' or '.join(suffixes)} files")
    return by_key


def read_ids(path: Path) -> np.ndarray:
    """Reads a PNG of class ids, of any bit depth: (H, W) uint8. Raises InputError otherwise."""
    mask = read_png_mask(path)
    if not mask.encoding.startswith("ids"):
        raise InputError(
            f"{path}: the mask holds {mask.encoding}, expected class ids (one grey channel)"
        )
    if mask.array.dtype != np.uint8 and mask.array.max() > IGNORE_ID:
        raise InputError(f"{path}: id {mask.array.max()} in the mask; expected 0 to {IGNORE_ID}")
    return mask.array.astype(np.uint8, copy=False)


def count_ids(mask: np.ndarray) -> np.ndarray:
    """Counts the ids of a (H, W) uint8 mask: (256,) int64."""
    # Ten times faster than np.bincount. Its float32 is exact up to 2**24 pixels, enough for frames.
    return cv2.calcHist([mask], [0], None, [256], [0, 256]).ravel().astype(np.int64)


def has_other_ids(mask: np.ndarray, known: Iterable[int]) -> bool:
    """Whether a (H, W) uint8 mask has an id that is not `known`. Much faster than count_ids."""
    other = np.ones(256, np.uint8)
    other[list(known)] = 0
    return cv2.countNonZero(cv2.LUT(mask, other)) > 0


def read_table(path: Path, table: dict[int, int], dataset: str) -> np.ndarray:
    """Reads a PNG of ids and maps them by `table` {id in the file: class id}: (H, W) uint8.

    255 stays 255. Raises InputError on an id that is not in the table of the `dataset`.
    """
    ids = read_ids(path)
    known = table | {IGNORE_ID: IGNORE_ID}
    if has_other_ids(ids, known):
        wrong = [int(i) for i in np.flatnonzero(count_ids(ids)) if i not in known]
        raise InputError(
            f"{path}: ids {wrong[:5]} in the mask; {dataset} has {min(table)} to {max(table)}, and "
            f"{IGNORE_ID} for ignored pixels"
        )
    lookup = np.zeros(256, np.uint8)
    lookup[list(known)] = list(known.values())
    return cv2.LUT(ids, lookup)


def read_colors(path: Path, palette: dict[tuple[int, int, int], int], dataset: str) -> np.ndarray:
    """Reads a PNG of colours and maps them by `palette` {(r, g, b): class id}: (H, W) uint8.

    The colours may be RGB, or those of the file's own palette. Transparency is ignored. Raises
    InputError on a colour that is not in the palette of the `dataset`, with its pixel.
    """
    file = read_png_mask(path)
    values = by_color(file, palette) if file.has_colors or file.palette is not None else None
    if values is None:
        raise InputError(f"{path}: the mask holds {file.encoding}, expected RGB colours")
    if values.unknown:
        color = values.unknown[0]
        pixels = file.array if file.palette is None else file.palette[file.array]
        row, column = np.argwhere((pixels == color).all(axis=-1))[0].tolist()
        raise InputError(
            f"{path}: colour {color} at row {row}, column {column}; {dataset} has {sorted(palette)}"
        )
    return values.mask


def read_json(path: Path, parse: Callable, *args: Any) -> Any:
    """Returns parse(document, *args) of a JSON file.

    Raises InputError, with the path, on a file that is no JSON or lacks what `parse` reads.
    """
    try:
        return parse(json.loads(to_path(path).read_text("utf-8")), *args)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{path}: {reason}") from error


def _refuse_unpaired(images, labels, image_dir, label_dir):
    problems, first = [], ""
    for items, others, problem, folder in (
        (images, labels, "image without a mask", label_dir),
        (labels, images, "mask without an image", image_dir),
    ):
        unpaired = sorted(items.keys() - others.keys())
        if unpaired:
            first = first or where(items[unpaired[0]])
            plural = f"{len(unpaired)} files: " if len(unpaired) > 1 else ""
            problems.append(f"{plural}{problem} (none in {folder})")
    if problems:
        raise InputError(
            f"{first}: {'; '.join(problems)}; add the missing files, or leave such frames out with "
            "--skip-unpaired"
        )
