"""The labels: each of our lanes up to its first car, less what stands in front of it.

Filled from the outlines that the picture is drawn from, so labels coincide with the drawing.
"""

import numpy as np

from tfrecords_tools.demo.drawing import fill
from tfrecords_tools.demo.geometry import CLOSEST_M

DIRECT, ALTERNATIVE, BACKGROUND = 0, 1, 2
DRIVABLE_LIMIT_M = 80.0  # Farther lanes are a few pixels high and count as background.


def draw_mask(scene, solid):
    """Mask uint8 (h, w) of a scene whose standing things cover the pixels where solid > 0."""
    camera, lanes = scene.camera, scene.road.lanes
    mask = np.full(camera.size, BACKGROUND, np.uint8)
    for i in range(lanes.own):
        left, right = i * lanes.width_m, (i + 1) * lanes.width_m
        end = _free_until_m(scene, left, right)
        if end > CLOSEST_M:
            label = DIRECT if i == scene.road.ego_lane else ALTERNATIVE
            fill(mask, camera.strip(left, right, CLOSEST_M, end), label, smooth=False)
    mask[solid > 0] = BACKGROUND
    return mask


def _free_until_m(scene, left_m, right_m):
    """Metres to the first car reaching at least 0.5 m into the lane, else the drivable limit."""
    # Fog hides the far road: what lets through less than 15 % of the contrast is not labelled.
    limit = min(DRIVABLE_LIMIT_M, 1.9 / scene.light.fog_1_m)
    for car in scene.cars:
        if min(car.right_m, right_m) - max(car.left_m, left_m) > 0.5:
            limit = min(limit, car.z_m)
    return limit
