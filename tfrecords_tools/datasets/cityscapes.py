"""Cityscapes, fine annotations (cityscapesScripts, README and helpers/labels.py).

    DATA/leftImg8bit/{train,val}/CITY/KEY_leftImg8bit.png        2048x1024
    DATA/gtFine/{train,val}/CITY/KEY_gtFine_labelIds.png         ids 0 to 33, see below
    or DATA/gtFine/{train,val}/CITY/KEY_gtFine_labelTrainIds.png train ids 0 to 18, 255 ignored

The test split has no public labels. Train ids are made by cityscapesScripts; other tools write them
under the name labelIds, where 7 would be road instead of traffic sign. So names and pixels must
agree, or --coding decides.
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
    count_ids,
    files_by_key,
    pair,
    read_ids,
    read_table,
    split_folders,
)

CARD = Card(
    description="Cityscapes, fine annotations: streets of 50 cities, labelled by pixel.",
    homepage="https://www.cityscapes-dataset.com/",
    license="Cityscapes licence: non-commercial; see its download page",
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
_ROAD = 7  # Label id.

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

# {coding: ending of its files}; the first that exists is read.
SUFFIXES = {
    "label-ids": "_gtFine_labelIds.png",
    "train-ids": "_gtFine_labelTrainIds.png",
}
CODINGS = ("auto", *SUFFIXES)
_TRAIN_IDS = 19  # Train ids are 0 to 18.
_SAMPLE = 25  # Masks of a split that are read to confirm the coding.


def source(
    data: Path | str, *, task: str = "road", coding: str = "auto", skip_unpaired: bool = False
) -> Source:
    """Returns the Source of a Cityscapes folder for one of TASKS.

    coding: one of CODINGS, the meaning of ids; "auto" requires that file names and pixels agree.
    Raises InputError.
    """
    images, masks = to_path(data) / "leftImg8bit", to_path(data) / "gtFine"
    for folder in (images, masks):
        if not folder.is_dir():
            raise InputError(
                f"{folder}: no such folder; --data must hold leftImg8bit/ and gtFine/ as "
                "Cityscapes unpacks them"
            )
    named = _coding_of_names(masks)
    splits = {}
    for name in split_folders(images, ("train", "val")):
        image_dir, mask_dir = images / name, masks / name
        frames = files_by_key(image_dir, ("_leftImg8bit.png",), "*/*")
        labels = files_by_key(mask_dir, (SUFFIXES[named],), "*/*")
        splits[name] = pair(frames, labels, image_dir, mask_dir, skip_unpaired=skip_unpaired)
        if coding == "auto":
            confirm_coding(named, splits[name])
    coding = named if coding == "auto" else coding
    return Source(
        f"cityscapes-{task}",
        TASKS[task][0],
        splits,
        partial(read_mask, task=task, coding=coding),
        CARD,
        f"{coding} coding",
        drive_pattern=DRIVE_PATTERN,
    )


def _coding_of_names(masks: Path) -> str:
    for coding, suffix in SUFFIXES.items():
        if any(masks.glob(f"*/*/*{suffix}")):
            return coding
    raise InputError(
        f"{masks}: contains no SPLIT/CITY/*{' or *'.join(SUFFIXES.values())}; if only polygons are "
        "there, cityscapesScripts' createTrainIdLabelImgs.py makes such files"
    )


def confirm_coding(coding: str, frames: list[Frame]) -> None:
    """Raises InputError unless the pixels of `frames` agree with `coding`, that of the file names.

    Ids above 18 are label ids: vegetation, sky and car are in nearly every frame. Without any, the
    road decides: of the lower half it is a large share, as label id 7 or train id 0.
    """
    ids, lower = np.zeros(256, np.int64), np.zeros(256, np.int64)
    step = max(1, len(frames) // _SAMPLE)
    for frame in frames[::step][:_SAMPLE]:
        try:
            mask = read_ids(frame.label)
        except InputError:
            continue  # The conversion reports it.
        ids += count_ids(mask)
        lower += count_ids(np.ascontiguousarray(mask[len(mask) // 2 :]))
    if not ids.any():
        return
    as_label, as_train = lower[_ROAD] / lower.sum(), lower[TRAIN_IDS[_ROAD]] / lower.sum()
    high = ids[_TRAIN_IDS:IGNORE_ID].any()
    pixels = "label-ids" if high or as_label > as_train else "train-ids"
    if pixels == coding:
        return
    raise InputError(
        f"{frames[0].label.parent.parent}: its coding is in doubt: the file names say {coding}, "
        f"the pixels {pixels} ({'some' if high else 'no'} ids above 18; of the lower half, "
        f"{as_label:.0%} are 7, road as label id, and {as_train:.0%} are 0, road as train id); "
        "choose with --coding label-ids or --coding train-ids"
    )


def read_mask(frame: Frame, size: Size, task: str, coding: str = "label-ids") -> np.ndarray:
    table = TASKS[task][1]
    if coding == "label-ids":
        return read_table(frame.label, table, "Cityscapes")
    table = {train: table[i] for i, train in TRAIN_IDS.items() if train != IGNORE_ID}
    return read_table(frame.label, table, "Cityscapes in train ids")
