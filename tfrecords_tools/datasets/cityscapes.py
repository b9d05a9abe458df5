"""Cityscapes, fine annotations (cityscapesScripts, README and helpers/labels.py).

    DATA/leftImg8bit/{train,val}/CITY/KEY_leftImg8bit.png        2048x1024
    DATA/gtFine/{train,val}/CITY/KEY_gtFine_labelIds.png         ids 0 to 33, see below

The test split has no public labels. `*_labelTrainIds.png`, made by its scripts, are not read.
Task `19`: the 19 classes of the benchmark. Task `road`: road 0, the other 18 classes 1. In both,
classes that the benchmark excludes (car bonnet, image border, parking, ...) are ignored.
"""

from functools import partial
from pathlib import Path

import numpy as np

from kseg.errors import InputError
from kseg.labels import CITYSCAPES_19, CITYSCAPES_ROAD, IGNORE_ID
from kseg.paths import to_path
from kseg.preprocess import Size
from tfrecords_tools.datasets import (
    Card,
    Frame,
    Source,
    files_by_key,
    pair,
    read_table,
    split_folders,
)

CARD = Card(
    description="Cityscapes, fine annotations: streets of 50 cities, labelled by pixel.",
    homepage="https://www.cityscapes-dataset.com/",
    license="Cityscapes licence: non-commercial; read it where you download",
    citation="""@inproceedings{cityscapes,
  title={The Cityscapes Dataset for Semantic Urban Scene Understanding},
  author={Cordts, Marius and Omran, Mohamed and Ramos, Sebastian and Rehfeld, Timo and
          Enzweiler, Markus and Benenson, Rodrigo and Franke, Uwe and Roth, Stefan and
          Schiele, Bernt},
  booktitle={CVPR},
  year={2016}
}""",
    download="After registration: leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip, "
    "unpacked into one folder.",
)

# aachen_000123_000019: the city. Its sequences, the second part, follow each other in the same
# streets, and the official split keeps cities together too.
DRIVE_PATTERN = "^[^_]+"

_IGNORED = IGNORE_ID

# helpers/labels.py: id -> trainId. Licence plate (-1) never occurs: its pixels have the car's id.
TRAIN_IDS = {
    0: _IGNORED,  # unlabeled
    1: _IGNORED,  # ego vehicle
    2: _IGNORED,  # rectification border
    3: _IGNORED,  # out of roi
    4: _IGNORED,  # static
    5: _IGNORED,  # dynamic
    6: _IGNORED,  # ground
    7: 0,  # road
    8: 1,  # sidewalk
    9: _IGNORED,  # parking
    10: _IGNORED,  # rail track
    11: 2,  # building
    12: 3,  # wall
    13: 4,  # fence
    14: _IGNORED,  # guard rail
    15: _IGNORED,  # bridge
    16: _IGNORED,  # tunnel
    17: 5,  # pole
    18: _IGNORED,  # polegroup
    19: 6,  # traffic light
    20: 7,  # traffic sign
    21: 8,  # vegetation
    22: 9,  # terrain
    23: 10,  # sky
    24: 11,  # person
    25: 12,  # rider
    26: 13,  # car
    27: 14,  # truck
    28: 15,  # bus
    29: _IGNORED,  # caravan
    30: _IGNORED,  # trailer
    31: 16,  # train
    32: 17,  # motorcycle
    33: 18,  # bicycle
}

# {task: (LabelSet, {id in the file: class id})}; the first is the default.
TASKS = {
    "road": (
        CITYSCAPES_ROAD,
        {i: min(train, 1) if train != _IGNORED else _IGNORED for i, train in TRAIN_IDS.items()},
    ),
    "19": (CITYSCAPES_19, TRAIN_IDS),
}


def source(data: Path | str, *, task: str = "road", skip_unpaired: bool = False) -> Source:
    """Returns the Source of a Cityscapes folder for one of TASKS. Raises InputError."""
    images, masks = to_path(data) / "leftImg8bit", to_path(data) / "gtFine"
    for folder in (images, masks):
        if not folder.is_dir():
            raise InputError(
                f"{folder}: no such folder; --data must hold leftImg8bit/ and gtFine/ as "
                "Cityscapes unpacks them"
            )
    splits = {}
    for name in split_folders(images, ("train", "val")):
        image_dir, mask_dir = images / name, masks / name
        frames = files_by_key(image_dir, ("_leftImg8bit.png",), "*/*")
        labels = files_by_key(mask_dir, ("_gtFine_labelIds.png",), "*/*")
        splits[name] = pair(frames, labels, image_dir, mask_dir, skip_unpaired=skip_unpaired)
    return Source(
        f"cityscapes-{task}",
        TASKS[task][0],
        splits,
        partial(read_mask, task=task),
        CARD,
        drive_pattern=DRIVE_PATTERN,
    )


def read_mask(frame: Frame, size: Size, task: str) -> np.ndarray:
    return read_table(frame.label, TASKS[task][1], "Cityscapes")
