"""Labels drawn with labelme: one JSON file per image.

    DATA/labels.txt          __ignore__, _background_, and the class names, one a line
    DATA/[SPLIT/]KEY.json    {"imagePath": "KEY.jpg", "imageData": base64 or null, "imageHeight": H,
                              "imageWidth": W, "shapes": [{"label": NAME, "points": [[x, y], ...],
                              "shape_type": "polygon", ...}, ...]}
    DATA/[SPLIT/]KEY.jpg     where "imageData" is null

Without SPLIT folders (train, val, test) all frames are `train`. Classes get their ids in the order
of labels.txt, as in labelme's labelme2voc.py: _background_ is where no shape is, __ignore__ is 255.
Without a line _background_, pixels without a shape are ignored. Later shapes cover earlier ones.
All kinds of shapes are read, and drawn as labelme draws them (labelme/_utils/shape.py).
"""

import base64
import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import Any

import cv2
import numpy as np

from kseg import image_file
from kseg.errors import InputError
from kseg.labels import IGNORE_ID, LabelSet
from kseg.paths import to_path
from kseg.preprocess import Size
from tfrecords_tools.class_names import label_set, voc_color
from tfrecords_tools.datasets import (
    Card,
    Frame,
    LayoutError,
    Source,
    files_by_key,
    has_suffix,
    own_splits,
    read_json,
)
from tfrecords_tools.shapes import Shape, draw_shapes

IGNORE, BACKGROUND = "__ignore__", "_background_"


@dataclass(frozen=True)
class EmbeddedImage(os.PathLike):
    """The image inside a JSON file. It has the methods of a Path that the conversion needs."""

    json_path: Path

    def __fspath__(self) -> str:
        return os.fspath(self.json_path)

    def __str__(self) -> str:
        return f"{self.json_path} (imageData)"

    def stat(self) -> Any:
        return self.json_path.stat()

    def read_bytes(self) -> bytes:
        return read_json(self.json_path, lambda document: base64.b64decode(document["imageData"]))


def source(data: Path | str, *, skip_unpaired: bool = False) -> Source:
    """Returns the Source of a folder of labelme's files. Raises InputError."""
    root = to_path(data)
    if not root.is_dir():
        raise LayoutError(f"{data}: no such folder")
    folders = own_splits(root, _is_labelme)
    counts: Counter[str] = Counter()
    splits = {name: _read_folder(folder, counts, skip_unpaired) for name, folder in folders.items()}
    labels = _read_classes(root / "labels.txt", counts)
    ids = {name: i for i, name in enumerate(labels.names)} | {IGNORE: IGNORE_ID}
    background = ids.get(BACKGROUND, IGNORE_ID)
    reader = partial(read_shapes, ids=ids, background=background)
    outside = f"class '{BACKGROUND}'" if BACKGROUND in ids else "ignored"
    shapes = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    origin = f"shapes: {shapes}; pixels outside of them: {outside}"
    return Source("labelme", labels, splits, reader, Card(f"Labels of {data}."), origin)


def _read_folder(folder: Path, counts: Counter, skip_unpaired: bool) -> list[Frame]:
    """Returns the frames of one folder, and adds its number of shapes of each label to `counts`."""
    files = files_by_key(folder, (".json",))
    # By names in Unicode's form NFC: macOS writes them in NFD, and JSON files hold either.
    images = {_nfc(p.name): p for p in folder.iterdir() if image_file.is_image_name(p.name)}
    frames, used, missing = [], set(), []
    for key, path in files.items():
        labels, image = read_json(path, _summary, path)
        if not isinstance(image, EmbeddedImage):
            used.add(_nfc(image.name))
            image = image if image.is_file() else images.get(_nfc(image.name), image)
            if not image.is_file():
                missing.append((path, image))
                continue
        counts.update(labels)
        frames.append(Frame(key, image, path))
    unlabelled = [
        images[name]
        for name in sorted(images.keys() - used)
        if _nfc(images[name].stem) not in files
    ]
    if missing and not skip_unpaired:
        path, image = missing[0]
        raise InputError(
            f"{path}: its image {image} does not exist ({len(missing)} of {len(files)} files); put "
            "the images there, or leave such frames out with --skip-unpaired"
        )
    if unlabelled and not skip_unpaired:
        raise InputError(
            f"{unlabelled[0]}: image without a JSON file ({len(unlabelled)} in {folder}); label "
            "it, or leave such frames out with --skip-unpaired"
        )
    if not frames:
        raise LayoutError(f"{folder}: no JSON file has an image")
    return frames


def _nfc(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _is_labelme(path: Path) -> bool:
    if not has_suffix(path, (".json",)):
        return False
    try:
        return bool(read_json(path, lambda document: "shapes" in document))
    except InputError:
        return False


def _summary(document: dict, path: Path) -> tuple[list[str], Any]:
    """Returns (labels of the shapes, the image: a Path or an EmbeddedImage)."""
    labels = [str(shape["label"]) for shape in document["shapes"]]
    if document.get("imageData"):
        return labels, EmbeddedImage(path)
    # Paths saved on Windows have backslashes.
    return labels, path.parent / PureWindowsPath(document["imagePath"]).as_posix()


def _read_classes(path: Path, counts: Counter) -> LabelSet:
    """Reads labels.txt; `counts` are the shapes of each label. Raises InputError."""
    if not path.is_file():
        example = "\\n".join([IGNORE, BACKGROUND, *sorted(counts.keys() - {IGNORE, BACKGROUND})])
        raise InputError(
            f"{path}: no such file; it must list the classes in the order of their ids, for "
            f"example printf '{example}\\n' > {path}"
        )
    lines = [line.strip() for line in path.read_text("utf-8").splitlines()]
    names = [line for line in lines if line and line != IGNORE]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(f"{path}: '{twice[0]}' occurs twice; remove one of the lines")
    unknown = {name: n for name, n in counts.items() if name not in names and name != IGNORE}
    if unknown:
        listed = ", ".join(f"'{name}' ({count} shapes)" for name, count in sorted(unknown.items()))
        raise InputError(
            f"{path}: does not have the labels {listed}; add each on a line of its own, or rename "
            f"it to {IGNORE} in labelme"
        )
    return label_set("labelme", {n: voc_color(i) for i, n in enumerate(names)}, str(path))


def read_shapes(frame: Frame, size: Size, ids: dict[str, int], background: int) -> np.ndarray:
    """read_mask: draws the shapes of one JSON file."""
    return read_json(frame.label, _draw, frame.where, size, ids, background)


def _draw(
    document: dict, where: str, size: Size, ids: dict[str, int], background: int
) -> np.ndarray:
    height, width = size
    own = document.get("imageHeight") or height, document.get("imageWidth") or width
    if own != (height, width):
        raise InputError(
            f"{where}: labels of a {own[0]}x{own[1]} image, but the image is {height}x{width}; it "
            "was replaced or resized after labelling"
        )
    return draw_shapes([_shape(item, ids) for item in document["shapes"]], size, background)


def _shape(item: dict, ids: dict[str, int]) -> Shape:
    kind = item.get("shape_type") or "polygon"  # Old versions know polygons only.
    pixels = _decode_pixels(item["mask"]) if kind == "mask" else None
    return Shape(kind, ids[item["label"]], _points(item["points"]), pixels=pixels)


def _points(points: Sequence) -> Sequence:
    return [(x, y) for x, y in points]


def _decode_pixels(text: str) -> np.ndarray:
    data = np.frombuffer(base64.b64decode(text), np.uint8)
    pixels = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
    if pixels is None:
        raise ValueError("a shape's mask is no PNG file")
    return pixels > 0
