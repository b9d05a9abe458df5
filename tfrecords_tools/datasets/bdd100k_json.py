"""BDD100K drivable labels as JSON: run lengths, polygons, and polygons of two older formats.

    current: [{"name": "KEY.jpg", "labels": [{"category": "direct" or "alternative",
               "poly2d": [{"vertices": [[x, y], ...], "types": "LLCC...", "closed": true}]
               or "rle": {"counts": "...", "size": [H, W]}}, ...]}, ...]
    2018, one file: the same with {"category": "drivable area", "attributes": {"areaType":
               "direct" or "alternative"}} among cars and lanes, which are ignored
    2018, one file per frame: {"frames": [{"objects": [{"category": "area/drivable" or
               "area/alternative", "poly2d": [[x, y, "L" or "C"], ...]}, ...]}]}

The list may also be {"frames": [...], "config": {...}}. Categories are names, so these files have
no ambiguous coding. A listed frame without an area is all background, as in BDD100K's to_mask.py;
an image that no file lists has no label. Later areas cover earlier ones (also as in to_mask.py);
run lengths must not overlap (doc/source/format.rst, "Segmentation Formats").
The complete file is held in memory: the 1.3 GB of bdd100k_labels_images_train.json need several
times as much.
"""

import json
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from kseg.errors import InputError
from kseg.labels import IGNORE_ID
from kseg.paths import to_path
from kseg.preprocess import Size
from tfrecords_tools.datasets import Frame
from tfrecords_tools.datasets.bdd100k_coding import ALTERNATIVE, BACKGROUND, DIRECT
from tfrecords_tools.polygons import Polygon, check_polygon, decode_runs, draw_polygons

SIZE = (720, 1280)  # Of frames without a size in the file (bdd100k/configs/drivable.toml).

CATEGORIES = {"direct": DIRECT, "alternative": ALTERNATIVE, "background": BACKGROUND}
AREA_TYPES = {"direct": DIRECT, "alternative": ALTERNATIVE}
LEGACY_CATEGORIES = {
    "area/drivable": DIRECT,
    "area/alternative": ALTERNATIVE,
    "area/unknown": IGNORE_ID,  # Twice in 100,000 frames; the 2018 viewer drew it as alternative.
}


class Areas(NamedTuple):
    """The label of one frame: polygons, or (class id, run lengths, their (height, width)).

    Its repr is part of ShardJob.digest: with other names of class or fields, finished shards of
    users would look unfinished.
    """

    where: str
    size: Size
    areas: tuple


def read_polygons(frame: Frame, size: Size) -> np.ndarray:
    """read_mask for polygons of one file with all frames."""
    return _draw(frame.label, size)


def read_legacy(frame: Frame, size: Size) -> np.ndarray:
    """read_mask for one file per frame."""
    areas = _parse(frame.where, _legacy_areas, _load(frame.label))
    return _draw(Areas(frame.where, SIZE, tuple(areas)), size)


def read_runs(frame: Frame, size: Size) -> np.ndarray:
    """read_mask for run lengths."""
    label = frame.label
    mask, covered = np.full(size, BACKGROUND, np.uint8), np.zeros(size, bool)
    for class_id, counts, own_size in label.areas:
        if own_size != tuple(size):
            raise InputError(_size_mismatch(label.where, own_size, size))
        area = _parse(label.where, decode_runs, counts, own_size)
        if (covered & area & (mask != class_id)).any():
            raise InputError(f"{label.where}: areas of two classes overlap; try --labels masks")
        mask[area] = class_id
        covered |= area
    return mask


def read_file(path: Path, kind: str, coding: str) -> dict[str, Areas]:
    """Reads a file with all frames: {key: Areas}. `kind` is "polygons" or "rles".

    Labels of other tasks are ignored in the "legacy" coding, and an error in "current". Raises
    InputError on a file that is corrupt, has another format or belongs to another task.
    """
    document = _load(path)
    frames = document.get("frames") if isinstance(document, dict) else document
    if not isinstance(frames, list):
        raise InputError(f"{path}: expected a list of frames in Scalabel's format")
    config = (document.get("config") or {}) if isinstance(document, dict) else {}
    labels: dict[str, Areas] = {}
    for number, frame in enumerate(frames):
        place = f"{path}: frame {number}"
        key = PurePosixPath(_parse(place, lambda frame=frame: str(frame["name"]))).stem
        place = f"{path}: frame {key!r}"
        if key in labels:
            raise InputError(f"{place} occurs twice; keep one of them")
        labels[key] = _parse(place, _areas, place, frame, config, (kind, coding))
    if not any(label.areas for label in labels.values()):
        raise InputError(
            f"{path}: none of its {len(labels)} frames has a drivable area in {kind}; get the "
            "labels of the drivable area, or choose another kind with --labels"
        )
    return labels


def _areas(place: str, frame: dict, config: dict, kind_and_coding: tuple[str, str]) -> Areas:
    kind, coding = kind_and_coding
    declared = frame.get("size") or config.get("imageSize")
    size = (int(declared["height"]), int(declared["width"])) if declared else SIZE
    areas: list = []
    for label in frame.get("labels") or []:
        class_id = _class_id(label, coding)
        if class_id is None:
            continue
        if kind == "rles" and label.get("rle"):
            runs = label["rle"]
            areas.append((class_id, runs["counts"], tuple(map(int, runs["size"]))))
        elif kind == "polygons":
            outlines = label.get("poly2d") or []
            areas.extend(_polygon(class_id, line["vertices"], line["types"]) for line in outlines)
    return Areas(place, size, tuple(areas))


def _class_id(label: dict, coding: str) -> int | None:
    """The class of one Scalabel label; None if it belongs to another task than drivable area."""
    if coding == "current":
        return _look_up(CATEGORIES, label["category"], "category")
    if label["category"] != "drivable area":
        return None
    return _look_up(AREA_TYPES, label["attributes"]["areaType"], "areaType")


def _legacy_areas(document: dict) -> list[Polygon]:
    frames = document["frames"]
    if len(frames) != 1:
        raise ValueError(f"expected one frame, got {len(frames)}")
    areas = []
    for labelled in frames[0]["objects"]:
        if labelled["category"].startswith("area/"):
            class_id = _look_up(LEGACY_CATEGORIES, labelled["category"], "category")
            points = labelled["poly2d"]
            types = "".join(point[2] for point in points)
            areas.append(_polygon(class_id, [point[:2] for point in points], types))
    return areas


def _polygon(class_id: int, vertices: list, types: str) -> Polygon:
    polygon = Polygon(class_id, tuple((float(x), float(y)) for x, y in vertices), types)
    check_polygon(polygon)
    return polygon


def _look_up(table: dict[str, int], name: str, key: str) -> int:
    if name not in table:
        raise ValueError(f"{key} {name!r} is none of {', '.join(table)}")
    return table[name]


def _draw(label: Areas, size: Size) -> np.ndarray:
    # Polygons of another size are not stretched: how they fit the image would be a guess.
    if label.size != tuple(size):
        raise InputError(_size_mismatch(label.where, label.size, size))
    return draw_polygons(label.areas, size, BACKGROUND)


def _size_mismatch(place: str, own_size: Size, size: Size) -> str:
    return (
        f"{place}: labels of {own_size[0]}x{own_size[1]} frames but the image is "
        f"{size[0]}x{size[1]}; use the images as released and resize with --size"
    )


def _load(path: Path) -> Any:
    try:
        return json.loads(to_path(path).read_text())
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not valid JSON ({error})") from error


def _parse(place: str, function: Callable, *args: Any) -> Any:
    """Calls `function`; raises its parsing errors as InputErrors that begin with `place`."""
    try:
        return function(*args)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        if isinstance(error, InputError):
            raise
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{place}: {reason}") from error
