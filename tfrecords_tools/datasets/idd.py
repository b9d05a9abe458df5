"""India Driving Dataset (Varma et al., WACV 2019, arXiv:1811.10200): the full release and lite.

    DATA/leftImg8bit/{train,val}/DRIVE/ID_leftImg8bit.{png,jpg}     full release
    DATA/gtFine/{train,val}/DRIVE/ID_gtFine_polygons.json

    DATA/leftImg8bit/{train,val}/DRIVE/ID_image.jpg                 lite release, 320x227
    DATA/gtFine/{train,val}/DRIVE/ID_label.png                      ids 0 to 6, 255 ignored

    polygons: {"imgWidth": W, "imgHeight": H, "objects": [{"label": NAME, "polygon": [[x, y], ...],
               "deleted": 0 or 1}, ...]}, later objects over earlier ones

The layout is that of AutoNUE/public-code, README.md. Names of frames repeat in other drives, so
keys are DRIVE_ID. The test split has no public labels. Task `7`: the first level of IDD's
hierarchy, which is what lite has. Task `road`: its class `drivable` (road, parking and what else
one can drive on), and the rest. Polygons become masks as IDD's createLabels.py draws them.
"""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from kseg.errors import InputError
from kseg.labels import IDD_7, IDD_ROAD, IGNORE_ID
from kseg.paths import to_path
from kseg.preprocess import Size
from tfrecords_tools.datasets import (
    Card,
    Frame,
    LayoutError,
    Source,
    files_by_key,
    pair,
    read_json,
    read_table,
    split_folders,
)
from tfrecords_tools.shapes import Shape, draw_shapes

CARD = Card(
    description="India Driving Dataset: roads in and around Hyderabad and Bangalore.",
    homepage="https://idd.insaan.iiit.ac.in/",
    license="IDD licence: research, non-commercial; see its download page",
    citation="""@inproceedings{idd,
  title={IDD: A Dataset for Exploring Problems of Autonomous Navigation in Unconstrained
         Environments},
  author={Varma, Girish and Subramanian, Anbumani and Namboodiri, Anoop and Chandraker, Manmohan and
          Jawahar, C. V.},
  booktitle={WACV},
  year={2019}
}""",
    download="After registration: IDD Segmentation (part I or II), or IDD Lite.",
)

DRIVE_PATTERN = "^[^_]+"  # Keys begin with the folder, which is the drive.

# helpers/anue_labels.py: names of each level-1 id. All other names of that file are void, 255.
LEVEL_1 = {
    0: ("road", "parking", "drivable fallback"),
    1: ("sidewalk", "rail track", "non-drivable fallback"),
    2: ("person", "animal", "rider"),
    3: (
        *("motorcycle", "bicycle", "autorickshaw", "car", "truck", "bus", "caravan", "trailer"),
        *("train", "vehicle fallback"),
    ),
    4: (
        *("curb", "wall", "fence", "guard rail", "billboard", "traffic sign", "traffic light"),
        *("pole", "polegroup", "obs-str-bar-fallback"),
    ),
    5: ("building", "bridge", "tunnel", "vegetation"),
    6: ("sky", "fallback background"),
    IGNORE_ID: (
        *("unlabeled", "ego vehicle", "rectification border", "out of roi", "license plate"),
    ),
}
IDS = {name: class_id for class_id, names in LEVEL_1.items() for name in names}

# {task: (LabelSet, {level-1 id: class id})}; the first is the default.
TASKS = {
    "road": (IDD_ROAD, {0: 0} | dict.fromkeys(range(1, 7), 1)),
    "7": (IDD_7, {i: i for i in range(7)}),
}

# (endings of images, ending of labels) of the two releases.
RELEASES = {
    "full": (("_leftImg8bit.png", "_leftImg8bit.jpg"), "_gtFine_polygons.json"),
    "lite": (("_image.jpg", "_image.png"), "_label.png"),
}


def source(data: Path | str, *, task: str = "road", skip_unpaired: bool = False) -> Source:
    """Returns the Source of an IDD folder, full or lite, for one of TASKS. Raises InputError."""
    images, labels = to_path(data) / "leftImg8bit", to_path(data) / "gtFine"
    for folder in (images, labels):
        if not folder.is_dir():
            raise InputError(
                f"{folder}: no such folder; --data must hold leftImg8bit/ and gtFine/ as IDD "
                "unpacks them"
            )
    release = _release(labels)
    image_suffixes, label_suffix = RELEASES[release]
    splits = {}
    for name in split_folders(images, ("train", "val")):
        splits[name] = pair(
            files_by_key(images / name, image_suffixes, "*/*", folder_in_key=True),
            files_by_key(labels / name, (label_suffix,), "*/*", folder_in_key=True),
            images / name,
            labels / name,
            skip_unpaired=skip_unpaired,
        )
    read_mask = partial({"full": read_polygons, "lite": read_lite}[release], task=task)
    return Source(
        f"idd-{task}",
        TASKS[task][0],
        splits,
        read_mask,
        CARD,
        f"{release} release",
        DRIVE_PATTERN,
    )


def _release(labels: Path) -> str:
    for release, (_, suffix) in RELEASES.items():
        if any(labels.glob(f"*/*/*{suffix}")):
            return release
    raise LayoutError(
        f"{labels}: contains no SPLIT/DRIVE/*_gtFine_polygons.json (full release) and no "
        "SPLIT/DRIVE/*_label.png (lite release)"
    )


def read_lite(frame: Frame, size: Size, task: str) -> np.ndarray:
    """read_mask for the lite release."""
    return read_table(frame.label, TASKS[task][1], "IDD lite")


def read_polygons(frame: Frame, size: Size, task: str) -> np.ndarray:
    """read_mask for the full release."""
    table = TASKS[task][1] | {IGNORE_ID: IGNORE_ID}
    return read_json(frame.label, _draw, frame.where, size, table)


def _draw(document: Any, where: str, size: Size, table: dict[int, int]) -> np.ndarray:
    own_size = int(document["imgHeight"]), int(document["imgWidth"])
    if own_size != tuple(size):
        raise InputError(
            f"{where}: polygons of a {own_size[0]}x{own_size[1]} frame but the image is "
            f"{size[0]}x{size[1]}; use the images as released and resize with --size"
        )
    shapes = [
        Shape("polygon", table[_level_1_id(item["label"])], item["polygon"])
        for item in document["objects"]
        # As createLabels.py does.
        if not item.get("deleted") and len(item["polygon"]) >= 3
    ]
    return draw_shapes(shapes, size, IGNORE_ID)


def _level_1_id(name: str) -> int:
    # "cargroup" is several cars under one outline.
    known = name if name in IDS else name.removesuffix("group")
    if known not in IDS:
        raise ValueError(f"unknown label {name!r}; IDD has {', '.join(IDS)}")
    return IDS[known]
