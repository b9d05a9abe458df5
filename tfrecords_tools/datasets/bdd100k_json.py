"""BDD100K drivable labels as JSON: run lengths, polygons, and the polygons of two older formats.

    current: [{"name": "KEY.jpg", "labels": [{"category": "direct" or "alternative",
               "poly2d": [{"vertices": [[x, y], ...], "types": "LLCC...", "closed": true}]
               or "rle": {"counts": "...", "size": [H, W]}}, ...]}, ...]
    2018, one file: the same with {"category": "drivable area", "attributes": {"areaType":
               "direct" or "alternative"}} among cars and lanes, which are passed over
    2018, one file a frame: {"frames": [{"objects": [{"category": "area/drivable" or
               "area/alternative", "poly2d": [[x, y, "L" or "C"], ...]}, ...]}]}

The list may also be {"frames": [...], "config": {...}}. Categories name the class, so no coding
can be mistaken here. A frame in a file with no area is background everywhere, as BDD100K's
to_mask.py makes it; an image that no file mentions has no label. Later areas cover earlier ones
(to_mask.py too); run lengths must not overlap (doc/source/format.rst, "Segmentation Formats").
A file is read whole: the 1.3 GB of bdd100k_labels_images_train.json take several times that.
"""

import json
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np

from kseg.errors import InputError
from kseg.labels import IGNORE_ID
from kseg.paths import to_path
from tfrecords_tools.datasets.bdd100k_coding import ALTERNATIVE, BACKGROUND, DIRECT
from tfrecords_tools.polygons import Polygon, check_polygon, decode_runs, draw_polygons

SIZE = (720, 1280)  # Of all frames, where the file does not say it (bdd100k/configs/drivable.toml).

CATEGORIES = {"direct": DIRECT, "alternative": ALTERNATIVE, "background": BACKGROUND}
AREA_TYPES = {"direct": DIRECT, "alternative": ALTERNATIVE}
LEGACY_CATEGORIES = {
    "area/drivable": DIRECT,
    "area/alternative": ALTERNATIVE,
    "area/unknown": IGNORE_ID,  # Twice in 100,000 frames; the 2018 viewer drew it as alternative.
}


class Areas(NamedTuple):
    """The label of one frame: polygons, or (class id, run lengths, their (height, width))."""

    where: str
    size: tuple[int, int]
    areas: tuple


def read_polygons(frame, size):
    """The read_mask of polygons in one file."""
    return _draw(frame.label, size)


def read_legacy(frame, size):
    """The read_mask of one file a frame."""
    areas = _parsed(frame.where, _legacy_areas, _load(frame.label))
    return _draw(Areas(frame.where, SIZE, tuple(areas)), size)


def read_runs(frame, size):
    """The read_mask of run lengths."""
    label = frame.label
    mask, taken = np.full(size, BACKGROUND, np.uint8), np.zeros(size, bool)
    for class_id, counts, own_size in label.areas:
        if own_size != tuple(size):
            raise InputError(_of_another_size(label.where, own_size, size))
        here = _parsed(label.where, decode_runs, counts, own_size)
        if (taken & here & (mask != class_id)).any():
            raise InputError(f"{label.where}: areas of two classes overlap; try --labels masks")
        mask[here] = class_id
        taken |= here
    return mask


def read_file(path, kind, coding):
    """Reads a file of all frames: {key: Areas}. `kind` is "polygons" or "rles".

    In the "legacy" coding labels of other tasks are passed over, in "current" they are an error.

    Raises InputError on a file that is damaged, of another form or of another task.
    """
    document = _load(path)
    frames = document.get("frames") if isinstance(document, dict) else document
    if not isinstance(frames, list):
        raise InputError(f"{path}: expected a list of frames in Scalabel's format")
    config = (document.get("config") or {}) if isinstance(document, dict) else {}
    labels, empty = {}, True
    for number, frame in enumerate(frames):
        place = f"{path}: frame {number}"
        key = PurePosixPath(_parsed(place, lambda frame=frame: str(frame["name"]))).stem
        place = f"{path}: frame {key!r}"
        if key in labels:
            raise InputError(f"{place} comes twice; keep one of them")
        labels[key] = _parsed(place, _areas, place, frame, config, (kind, coding))
        empty = empty and not labels[key].areas
    if empty:
        raise InputError(f"{path}: none of its {len(labels)} frames has a drivable area in {kind}")
    return labels


def _areas(place, frame, config, form):
    kind, coding = form
    declared = frame.get("size") or config.get("imageSize")
    size = (int(declared["height"]), int(declared["width"])) if declared else SIZE
    areas = []
    for label in frame.get("labels") or []:
        class_id = _class_id(label, coding)
        if class_id is None:
            continue
        if kind == "rles" and label.get("rle"):
            runs = label["rle"]
            areas.append((class_id, runs["counts"], tuple(map(int, runs["size"]))))
        elif kind == "polygons":
            shapes = label.get("poly2d") or []
            areas.extend(_polygon(class_id, shape["vertices"], shape["types"]) for shape in shapes)
    return Areas(place, size, tuple(areas))


def _class_id(label, coding):
    """The class of one Scalabel label; None if it is of another task than drivable area."""
    if coding == "current":
        return _named(CATEGORIES, label["category"], "category")
    if label["category"] != "drivable area":
        return None
    return _named(AREA_TYPES, label["attributes"]["areaType"], "areaType")


def _legacy_areas(document):
    frames = document["frames"]
    if len(frames) != 1:
        raise ValueError(f"expected one frame, got {len(frames)}")
    areas = []
    for thing in frames[0]["objects"]:
        if thing["category"].startswith("area/"):
            class_id = _named(LEGACY_CATEGORIES, thing["category"], "category")
            points = thing["poly2d"]
            types = "".join(point[2] for point in points)
            areas.append(_polygon(class_id, [point[:2] for point in points], types))
    return areas


def _polygon(class_id, vertices, types):
    polygon = Polygon(class_id, tuple((float(x), float(y)) for x, y in vertices), types)
    check_polygon(polygon)
    return polygon


def _named(table, name, what):
    if name not in table:
        raise ValueError(f"{what} {name!r} is none of {', '.join(table)}")
    return table[name]


def _draw(label, size):
    # Stretching the polygons of another size would be a guess.
    if label.size != tuple(size):
        raise InputError(_of_another_size(label.where, label.size, size))
    return draw_polygons(label.areas, size, BACKGROUND)


def _of_another_size(place, own_size, size):
    return (
        f"{place}: labels of {own_size[0]}x{own_size[1]} frames but the image is "
        f"{size[0]}x{size[1]}; use the images as released and resize with --size"
    )


def _load(path):
    try:
        return json.loads(to_path(path).read_text())
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not readable as JSON ({error})") from error


def _parsed(place, function, *args):
    """Calls `function`; what it stumbles over is the file's fault, and named."""
    try:
        return function(*args)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        if isinstance(error, InputError):
            raise
        what = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{place}: {what}") from error
