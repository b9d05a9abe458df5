"""KITTI road/lane 2013 (Fritsch et al., ITSC 2013; data_road.zip and its devkit).

    DATA/training/image_2/{um,umm,uu}_NNNNNN.png
    DATA/training/gt_image_2/{um,umm,uu}_road_NNNNNN.png    the road: all lanes
    DATA/training/gt_image_2/um_lane_NNNNNN.png             the lane the car drives in

Magenta is road (or lane), red is not, black is not evaluated: in the devkit's getGroundTruth,
blue > 0 means road and red > 0 valid. `testing/` has no public labels, and there is no official
validation split: all frames are `train`; split them with --split.

Task `road`: all 289 frames, road 0, the rest 1. Task `lane`: the ego lane 0, other road 1, the
rest 2, on the 95 `um` frames (marked two-way roads). The `umm` and `uu` frames have no lane
annotation and are left out: labelling all of their road as "other" would be wrong. Other road is
not drivable, unlike BDD100K's `alternative`, as most of it is the oncoming lane. Task `ego-lane`:
the ego lane 0, everything else 1, on the same frames; it needs no road labels.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kseg.errors import InputError
from kseg.labels import IGNORE_ID, KITTI_EGO_LANE, KITTI_LANE, KITTI_ROAD
from kseg.paths import to_path
from kseg.preprocess import Size
from tfrecords_tools.datasets import Card, Frame, Source, files_by_key, pair, read_colors

TASKS = {
    "road": KITTI_ROAD,
    "lane": KITTI_LANE,
    "ego-lane": KITTI_EGO_LANE,
}  # The first is the default.

CARD = Card(
    description="KITTI road/lane 2013: road and ego lane on 289 frames.",
    homepage="https://www.cvlibs.net/datasets/kitti/eval_road.php",
    license="CC BY-NC-SA 3.0",
    citation="""@inproceedings{kittiroad,
  title={A New Performance Measure and Evaluation Benchmark for Road Detection Algorithms},
  author={Fritsch, Jannik and Kuehnl, Tobias and Geiger, Andreas},
  booktitle={ITSC},
  year={2013}
}""",
    download="data_road.zip, after giving an address.",
)

# Names hold no drive, only the kind of road: um, umm and uu were driven at different places.
DRIVE_PATTERN = "^[a-z]+"

PALETTE = {(255, 0, 255): 0, (255, 0, 0): 1, (0, 0, 0): IGNORE_ID}


class LaneAndRoad(NamedTuple):
    """The two colour maps that make up the label of task `lane`."""

    lane: Path
    road: Path

    @property
    def where(self) -> str:
        return str(self.lane)


def source(data: Path | str, *, task: str = "road", skip_unpaired: bool = False) -> Source:
    """Returns the Source of an unpacked data_road.zip for one of TASKS. Raises InputError."""
    images, masks = to_path(data) / "training/image_2", to_path(data) / "training/gt_image_2"
    for folder in (images, masks):
        if not folder.is_dir():
            raise InputError(
                f"{folder}: no such folder; --data must hold training/image_2/ and "
                "training/gt_image_2/ as data_road.zip unpacks them"
            )
    frames = files_by_key(images, (".png",))
    roads, lanes = _labels(masks, "_road_"), _labels(masks, "_lane_")
    if lanes and not roads and task != "ego-lane":
        lane = next(iter(lanes.values()))
        raise InputError(
            f"{masks}: holds {lane.name} but no {lane.name.replace('_lane_', '_road_')}, and task "
            f"{task} needs road labels; get gt_image_2 of data_road.zip complete, or read the lane "
            "labels alone with --task ego-lane"
        )
    labels: dict[str, Any] = dict(roads)
    if task != "road":
        frames = {key: path for key, path in frames.items() if key.startswith("um_")}
        labels = dict(lanes)
    if task == "lane":
        labels = {key: LaneAndRoad(lanes[key], roads[key]) for key in lanes.keys() & roads.keys()}
    splits = {"train": pair(frames, labels, images, masks, skip_unpaired=skip_unpaired)}
    return Source(
        f"kitti-{task}", TASKS[task], splits, _READERS[task], CARD, drive_pattern=DRIVE_PATTERN
    )


def _labels(masks: Path, kind: str) -> dict[str, Path]:
    files = files_by_key(masks, (".png",))
    return {key.replace(kind, "_"): path for key, path in files.items() if kind in key}


def read_road(frame: Frame, size: Size) -> np.ndarray:
    """read_mask for tasks `road` and `ego-lane`."""
    return read_colors(frame.label, PALETTE, "KITTI road")


def read_lane(frame: Frame, size: Size) -> np.ndarray:
    """read_mask for task `lane`: ego lane over road over the rest; ignored where either is."""
    lane, road = (read_colors(path, PALETTE, "KITTI road") for path in frame.label)
    if lane.shape != road.shape:
        raise InputError(f"{frame.where}: its size differs from that of {frame.label.road}")
    mask = np.where(lane == 0, np.uint8(0), road + 1)
    mask[(lane == IGNORE_ID) | (road == IGNORE_ID)] = IGNORE_ID
    return mask


_READERS: dict[str, Callable[[Frame, Size], np.ndarray]] = {
    "road": read_road,
    "ego-lane": read_road,
    "lane": read_lane,
}
