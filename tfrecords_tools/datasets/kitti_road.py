"""KITTI road/lane 2013 (Fritsch et al., ITSC 2013; data_road.zip and its devkit).

    DATA/training/image_2/{um,umm,uu}_NNNNNN.png
    DATA/training/gt_image_2/{um,umm,uu}_road_NNNNNN.png    the road: all lanes
    DATA/training/gt_image_2/um_lane_NNNNNN.png             the lane the car drives in

Magenta is road (or lane), red is not, black is not evaluated: the devkit's getGroundTruth takes
blue > 0 for road and red > 0 for valid. `testing/` has no public labels, and there is no official
validation split: everything is `train`; divide it with --split.

Task `road`: all 289 frames, road 0, the rest 1. Task `lane`: the ego lane 0, other road 1, the
rest 2, on the 95 `um` frames (marked two-way roads). The `umm` and `uu` frames have no lane
annotation and are left out of it: to call their whole road "other" would be a false label. Other
road is not drivable and not BDD100K's `alternative`, as most of it is the oncoming lane.
"""

import os
from typing import NamedTuple

import numpy as np

from kseg.errors import InputError
from kseg.labels import IGNORE_ID, KITTI_LANE, KITTI_ROAD
from kseg.paths import to_path
from tfrecords_tools.datasets import Card, Source, files_by_key, match, read_colors

TASKS = {"road": KITTI_ROAD, "lane": KITTI_LANE}  # The first is the default.

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

PALETTE = {(255, 0, 255): 0, (255, 0, 0): 1, (0, 0, 0): IGNORE_ID}


class LaneAndRoad(NamedTuple):
    """The two pictures that make the label of task `lane`."""

    lane: os.PathLike
    road: os.PathLike

    @property
    def where(self):
        return str(self.lane)


def source(data, task="road", skip_unpaired=False):
    """Returns the Source of an unpacked data_road.zip for one of TASKS. Raises InputError."""
    images, masks = to_path(data) / "training/image_2", to_path(data) / "training/gt_image_2"
    for folder in (images, masks):
        if not folder.is_dir():
            raise InputError(
                f"{folder}: no such folder; --data must hold training/image_2/ and "
                "training/gt_image_2/ as data_road.zip unpacks them"
            )
    frames, labels = files_by_key(images, (".png",)), _labels(masks, "_road_")
    if task == "lane":
        lanes = _labels(masks, "_lane_")
        frames = {key: path for key, path in frames.items() if key.startswith("um_")}
        labels = {
            key: LaneAndRoad(path, labels[key]) for key, path in lanes.items() if key in labels
        }
    splits = {"train": match(frames, labels, images, masks, skip_unpaired)}
    return Source(f"kitti-{task}", TASKS[task], splits, _READERS[task], CARD)


def _labels(masks, kind):
    files = files_by_key(masks, (".png",))
    return {key.replace(kind, "_"): path for key, path in files.items() if kind in key}


def read_road(frame, size):
    """The read_mask of task `road`."""
    return read_colors(frame.label, PALETTE, "KITTI road")


def read_lane(frame, size):
    """The read_mask of task `lane`: ego lane over road over the rest, ignored where either is."""
    lane, road = (read_colors(path, PALETTE, "KITTI road") for path in frame.label)
    if lane.shape != road.shape:
        raise InputError(f"{frame.where}: its size is not that of {frame.label.road}")
    mask = np.where(lane == 0, np.uint8(0), road + 1)
    mask[(lane == IGNORE_ID) | (road == IGNORE_ID)] = IGNORE_ID
    return mask


_READERS = {"road": read_road, "lane": read_lane}
