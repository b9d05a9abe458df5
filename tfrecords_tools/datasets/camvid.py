"""CamVid, the 367 / 101 / 233 split of SegNet (arXiv:1511.00561).

    DATA/images/{train,val,test}/KEY.{jpg,png}
    DATA/labels/{train,val,test}/KEY.png   0 Sky ... 10 Bicyclist, 11 Unlabelled (ignored)

Task `road` is a three-class problem similar to BDD100K's: road 0, pavement 1, everything else 2.
"""

from functools import partial
from pathlib import Path

import numpy as np

from kseg.errors import InputError
from kseg.labels import CAMVID_11, CAMVID_ROAD, IGNORE_ID
from kseg.paths import to_path
from kseg.preprocess import Size
from tfrecords_tools.datasets import Card, Frame, Source, pair_folders, read_table, split_folders

CARD = Card(
    description="CamVid: 701 frames of driving in Cambridge, labelled by pixel.",
    homepage="http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/",
    license="non-commercial research",
    citation="""@article{camvid,
  title={Semantic object classes in video: A high-definition ground truth database},
  author={Brostow, Gabriel J. and Fauqueur, Julien and Cipolla, Roberto},
  journal={Pattern Recognition Letters},
  year={2009}
}""",
    download="The 367/101/233 split at 480x360 with 11 classes that SegNet published.",
)

DRIVE_PATTERN = "^[^_]+"  # 0016E5_00901: the sequence.

_UNLABELLED = 11
_ROAD, _PAVEMENT = 3, 4

# {task: (LabelSet, {id in the file: class id})}; the first is the default.
TASKS = {
    "road": (
        CAMVID_ROAD,
        dict.fromkeys(range(_UNLABELLED), 2) | {_ROAD: 0, _PAVEMENT: 1, _UNLABELLED: IGNORE_ID},
    ),
    "11": (CAMVID_11, {i: i for i in range(_UNLABELLED)} | {_UNLABELLED: IGNORE_ID}),
}


def source(data: Path | str, *, task: str = "road", skip_unpaired: bool = False) -> Source:
    """Returns the Source of a CamVid folder for one of TASKS. Raises InputError."""
    images, masks = to_path(data) / "images", to_path(data) / "labels"
    if not images.is_dir() or not masks.is_dir():
        raise InputError(f"{data}: --data must hold images/ and labels/ with train/, val/ in them")
    splits = {
        name: pair_folders(images / name, masks / name, skip_unpaired=skip_unpaired)
        for name in split_folders(images)
    }
    return Source(
        f"camvid-{task}",
        TASKS[task][0],
        splits,
        partial(read_mask, task=task),
        CARD,
        drive_pattern=DRIVE_PATTERN,
    )


def read_mask(frame: Frame, size: Size, task: str) -> np.ndarray:
    return read_table(frame.label, TASKS[task][1], "CamVid")
