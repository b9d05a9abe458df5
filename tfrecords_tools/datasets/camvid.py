"""CamVid, the 367 / 101 / 233 split of SegNet (arXiv:1511.00561).

    DATA/images/{train,val,test}/KEY.{jpg,png}
    DATA/labels/{train,val,test}/KEY.png   0 Sky ... 10 Bicyclist, 11 Unlabelled (ignored)

Masks may also be the original ones of 32 colours (label_colors.txt of the data set), KEY_L.png;
SegNet's grouping makes 11 classes of them. Two more layouts hold those: DATA/{train,val,test}/ with
DATA/{train,val,test}_labels/, and the original 701_StillsRaw_full/ with LabeledApproved_full/,
where all frames are `train`.

Task `road` is a three-class problem similar to BDD100K's: road 0, pavement 1, everything else 2.
"""

from functools import partial
from pathlib import Path

import numpy as np

from kseg.errors import InputError
from kseg.labels import CAMVID_11, CAMVID_ROAD, IGNORE_ID
from kseg.paths import to_path
from kseg.preprocess import Size
from tfrecords_tools.datasets import (
    IMAGE_SUFFIXES,
    SPLITS,
    Card,
    Frame,
    Source,
    files_by_key,
    pair,
)
from tfrecords_tools.mask_file import read_png_mask
from tfrecords_tools.mask_values import by_color, by_id

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

# Names and colours of label_colors.txt, by class of CAMVID_11, as in SegNet's training (the
# grouping of MathWorks' example "Semantic Segmentation Using Deep Learning", which follows it).
GROUPS = {
    "sky": {"Sky": (128, 128, 128)},
    "building": {
        "Building": (128, 0, 0),
        "Wall": (64, 192, 0),
        "Tunnel": (64, 0, 64),
        "Bridge": (0, 128, 64),
        "Archway": (192, 0, 128),
    },
    "pole": {"Column_Pole": (192, 192, 128), "TrafficCone": (0, 0, 64)},
    "road": {
        "Road": (128, 64, 128),
        "LaneMkgsDriv": (128, 0, 192),
        "LaneMkgsNonDriv": (192, 0, 64),
    },
    "pavement": {
        "Sidewalk": (0, 0, 192),
        "ParkingBlock": (64, 192, 128),
        "RoadShoulder": (128, 128, 192),
    },
    "tree": {"Tree": (128, 128, 0), "VegetationMisc": (192, 192, 0)},
    "sign_symbol": {
        "SignSymbol": (192, 128, 128),
        "Misc_Text": (128, 128, 64),
        "TrafficLight": (0, 64, 64),
    },
    "fence": {"Fence": (64, 64, 128)},
    "car": {
        "Car": (64, 0, 128),
        "SUVPickupTruck": (64, 128, 192),
        "Truck_Bus": (192, 128, 192),
        "Train": (192, 64, 128),
        "OtherMoving": (128, 64, 64),
    },
    "pedestrian": {
        "Pedestrian": (64, 64, 0),
        "Child": (192, 128, 64),
        "CartLuggagePram": (64, 0, 192),
        "Animal": (64, 128, 64),
    },
    "bicyclist": {"Bicyclist": (0, 128, 192), "MotorcycleScooter": (192, 0, 192)},
}
# {colour: id in SegNet's masks}
COLOR_IDS = {
    color: CAMVID_11.names.index(name) for name, group in GROUPS.items() for color in group.values()
} | {(0, 0, 0): _UNLABELLED}

# (folder of images, folder of masks); without {split} all frames are `train`.
LAYOUTS = (
    ("images/{split}", "labels/{split}"),
    ("{split}", "{split}_labels"),
    ("701_StillsRaw_full", "LabeledApproved_full"),
)

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
    splits = {}
    for name, images, masks in _folders(to_path(data)):
        # "_L.png" first, as ".png" ends such names too.
        labels = files_by_key(masks, ("_L.png", ".png"))
        frames = files_by_key(images, IMAGE_SUFFIXES)
        splits[name] = pair(frames, labels, images, masks, skip_unpaired=skip_unpaired)
    return Source(
        f"camvid-{task}",
        TASKS[task][0],
        splits,
        partial(read_mask, task=task),
        CARD,
        drive_pattern=DRIVE_PATTERN,
    )


def _folders(data: Path) -> list[tuple[str, Path, Path]]:
    """Returns (split, folder of images, folder of masks) of the first layout that exists."""
    for images, masks in LAYOUTS:
        names = SPLITS if "{split}" in images else SPLITS[:1]
        found = [(n, data / images.format(split=n), data / masks.format(split=n)) for n in names]
        present = [folders for folders in found if folders[1].is_dir()]
        if any(mask_dir.is_dir() for _, _, mask_dir in present):
            return present
    raise InputError(
        f"{data}: --data must hold images/ and labels/ with train/, val/ in them, or train/ and "
        "train_labels/, or 701_StillsRaw_full/ and LabeledApproved_full/"
    )


def read_mask(frame: Frame, size: Size, task: str) -> np.ndarray:
    file, table = read_png_mask(frame.label), TASKS[task][1]
    if file.has_colors:
        values = by_color(file, {color: table[i] for color, i in COLOR_IDS.items()})
        known = "CamVid's label_colors.txt has other colours"
    else:
        values = by_id(file, table)
        known = f"CamVid has 0 to {_UNLABELLED}"
    if values is None or values.unknown:
        unknown = "" if values is None else f" {values.unknown[:5]}"
        raise InputError(f"{frame.label}: values{unknown} in the mask ({file.encoding}); {known}")
    return values.mask
