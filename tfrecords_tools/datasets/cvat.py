"""CVAT's export "Segmentation mask 1.1", and Pascal VOC's layout, from which it comes.

    DATA/labelmap.txt                         NAME:R,G,B:: one a line; # begins a comment
    DATA/SegmentationClass/KEY.png            colours of labelmap.txt, as RGB or palette
    DATA/ImageSets/Segmentation/SUBSET.txt    keys, one a line
    DATA/JPEGImages/KEY.jpg                   exported with "Save images" (also DATA/images/)

Class ids are in the order of labelmap.txt; without that file they are Pascal VOC's 21 classes, as
CVAT's documentation has it (docs.cvat.ai, dataset_management/formats/format-smask). VOC's border
colour (224, 224, 192) is ignored. Subsets named train, val (or validation) and test are splits; any
other, such as CVAT's `default`, is `train`.
"""

from functools import partial
from pathlib import Path

import numpy as np

from kseg.errors import InputError
from kseg.labels import IGNORE_ID, LabelSet
from kseg.paths import to_path
from kseg.preprocess import Size
from tfrecords_tools.class_names import label_set, voc_color
from tfrecords_tools.datasets import IMAGE_SUFFIXES, SPLITS, Card, Frame, Source, files_by_key
from tfrecords_tools.mask_file import read_png_mask
from tfrecords_tools.mask_values import Color, by_color

VOC_CLASSES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair"),
    *("cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)
BORDER = (224, 224, 192)

SUBSETS = {"training": "train", "valid": "val", "validation": "val", "testing": "test"}


def source(data: Path | str, *, skip_unpaired: bool = False) -> Source:
    """Returns the Source of an unpacked export. Raises InputError."""
    root = to_path(data)
    masks = root / "SegmentationClass"
    if not masks.is_dir():
        raise InputError(
            f"{masks}: no such folder; --data must hold CVAT's export 'Segmentation mask 1.1', "
            "unpacked"
        )
    images = next((root / n for n in ("JPEGImages", "images") if (root / n).is_dir()), None)
    if images is None:
        raise InputError(
            f"{root}: has no JPEGImages/ and no images/; export again with 'Save images', or put "
            "the images into a folder of that name"
        )
    labels = _read_labelmap(root / "labelmap.txt")
    splits = {
        split: _frames(keys, images, masks, skip_unpaired)
        for split, keys in _read_subsets(root, masks).items()
    }
    palette = {color: i for i, color in enumerate(labels.palette)}
    reader = partial(read_mask, palette={BORDER: IGNORE_ID} | palette)
    return Source("cvat", labels, splits, reader, Card(f"Labels of {data}."))


def _read_labelmap(path: Path) -> LabelSet:
    if not path.is_file():
        colors = {name: voc_color(i) for i, name in enumerate(VOC_CLASSES)}
        return label_set("cvat", colors, str(path))
    colors = {}
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        name, color = _parse_line(text, f"{path}, line {number}")
        if name in colors:
            raise InputError(
                f"{path}, line {number}: class '{name}' occurs twice; remove one of the lines"
            )
        colors[name] = color
    return label_set("cvat", colors, str(path))


def _parse_line(text: str, where: str) -> tuple[str, Color]:
    # The name may hold colons; colour, parts and actions are the last three fields.
    fields = text.rsplit(":", 3)
    try:
        red, green, blue = (int(value) for value in fields[1].split(","))
    except (IndexError, ValueError) as error:
        raise InputError(f"{where}: expected NAME:R,G,B::, got {text!r}") from error
    if len(fields) != 4 or not all(0 <= value <= 255 for value in (red, green, blue)):
        raise InputError(f"{where}: expected NAME:R,G,B:: with 0 to 255, got {text!r}")
    return fields[0], (red, green, blue)


def _read_subsets(root: Path, masks: Path) -> dict[str, list[str]]:
    """Returns {split: keys}."""
    lists = sorted((root / "ImageSets/Segmentation").glob("*.txt"))
    if not lists:
        return {"train": sorted(files_by_key(masks, (".png",)))}
    names = {path.stem.lower() for path in lists}
    splits: dict[str, list[str]] = {}
    seen: dict[str, Path] = {}
    for path in lists:
        subset = path.stem.lower()
        if subset == "trainval" and {"train", "val"} <= names:
            continue  # VOC's union of both.
        keys = [line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()]
        for key in keys:
            if key in seen:
                raise InputError(f"{path}: {key} is in {seen[key].name} too; keep one of them")
            seen[key] = path
        split = SUBSETS.get(subset, subset if subset in SPLITS else "train")
        splits.setdefault(split, []).extend(keys)
    return {name: splits[name] for name in SPLITS if splits.get(name)}


def _frames(keys: list[str], images: Path, masks: Path, skip_unpaired: bool) -> list[Frame]:
    frames, missing = [], []
    for key in keys:
        mask = masks / f"{key}.png"
        candidates = [images / f"{key}{suffix}" for suffix in IMAGE_SUFFIXES]
        image = next((path for path in candidates if path.is_file()), None)
        if image is not None and mask.is_file():
            frames.append(Frame(key, image, mask))
        else:
            missing.append(mask if image else candidates[0])
    if missing and not (skip_unpaired and frames):
        raise InputError(
            f"{missing[0]}: no such file, though ImageSets lists it ({len(missing)} of {len(keys)} "
            "frames lack image or mask); add them, or leave such frames out with --skip-unpaired"
        )
    return frames


def read_mask(frame: Frame, size: Size, palette: dict[Color, int]) -> np.ndarray:
    """read_mask for RGB and palette masks."""
    file = read_png_mask(frame.label)
    values = by_color(file, palette)
    if values is None or values.unknown:
        unknown = "" if values is None else f" {', '.join(map(str, values.unknown[:5]))}"
        raise InputError(
            f"{frame.label}: colours{unknown} in the mask ({file.encoding}); labelmap.txt has none "
            "of them; add the class there as NAME:R,G,B::"
        )
    return values.mask
