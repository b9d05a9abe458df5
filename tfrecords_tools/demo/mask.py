"""Draws the label mask: each lane of the ego direction up to its first car, without obstacles.

It is filled from the same outlines as the image, so labels and image coincide.
"""

import numpy as np

from tfrecords_tools.demo.canvas import fill
from tfrecords_tools.demo.geometry import CLOSEST_M
from tfrecords_tools.demo.scene import Scene

DIRECT, ALTERNATIVE, BACKGROUND = 0, 1, 2
DRIVABLE_LIMIT_M = 80.0  # Farther lanes are a few pixels high and count as background.


def draw_mask(scene: Scene, obstacles: np.ndarray) -> np.ndarray:
    """Returns the mask uint8 (h, w) of a scene; obstacles cover the pixels where that is > 0."""
    camera, lanes = scene.camera, scene.road.lanes
    mask = np.full(camera.size, BACKGROUND, np.uint8)
    for i in range(lanes.own):
        left, right = i * lanes.width_m, (i + 1) * lanes.width_m
        end = _free_distance_m(scene, left, right)
        if end > CLOSEST_M:
            label = DIRECT if i == scene.road.ego_lane else ALTERNATIVE
            fill(mask, camera.strip(left, right, CLOSEST_M, end), label, smooth=False)
    mask[obstacles > 0] = BACKGROUND
    return mask


def _free_distance_m(scene: Scene, left_m: float, right_m: float) -> float:
    """Metres to the first car that covers over 0.5 m of the lane's width, or the drivable limit."""
    # Fog hides the far road: beyond the distance where 15 % of the contrast remains, no label.
    limit = min(DRIVABLE_LIMIT_M, 1.9 / scene.light.fog_1_m)
    for car in scene.cars:
        if min(car.right_m, right_m) - max(car.left_m, left_m) > 0.5:
            limit = min(limit, car.z_m)
    return limit
