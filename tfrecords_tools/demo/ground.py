"""Draws the ground: asphalt, the strips beside it, repairs and markings."""

import cv2
import numpy as np

from tfrecords_tools.demo.canvas import SUBPIXEL_BITS, Canvas, fixed_point
from tfrecords_tools.demo.colors import WHITE
from tfrecords_tools.demo.geometry import CLOSEST_M, FAR_M, circle
from tfrecords_tools.demo.shading import shade_ground


def draw_ground(canvas: Canvas) -> None:
    """Draws ground, road and markings, with light and shadows."""
    camera, road = canvas.camera, canvas.scene.road
    height, width = camera.size
    x = np.array([-9, width + 9])
    y = camera.horizon_y(x)
    corners = [(x[0], y[0]), (x[1], y[1]), (x[1], height + 9), (x[0], height + 9)]
    canvas.fill(np.array(corners), canvas.scene.ground)
    for strip in road.strips:
        canvas.fill(camera.strip(strip.left_m, strip.right_m, 0, FAR_M), strip.color)
    _draw_patches(canvas)
    _draw_cracks(canvas)
    _draw_manhole(canvas)
    top = int(np.clip(y.min() - 1, 0, height - 2))
    unmarked = canvas.image[top:].copy()
    _draw_lines(canvas)
    for crossing in canvas.scene.crossings:
        _draw_crossing(canvas, crossing)
    for arrow in canvas.scene.arrows:
        _draw_arrow(canvas, arrow)
    shade_ground(canvas, unmarked, top)


def _draw_patches(canvas):
    """Repairs in asphalt of another colour."""
    rng, road = canvas.rng, canvas.scene.road
    for _ in range(rng.poisson(3)):
        u, z = rng.uniform(road.left_m, road.right_m), rng.uniform(3, 50)
        color = np.add(road.asphalt, rng.uniform(-24, 16))
        right, end = min(u + rng.uniform(0.6, 3.2), road.right_m), z + rng.uniform(1, 14)
        canvas.fill(canvas.camera.strip(u, right, z, end), color)


def _draw_cracks(canvas):
    rng, road = canvas.rng, canvas.scene.road
    color = [float(c) * 0.6 for c in road.asphalt]
    for _ in range(rng.poisson(4)):
        u = rng.uniform(road.left_m, road.right_m) + np.cumsum(rng.normal(0, 0.16, 14))
        z = rng.uniform(3, 25) + np.cumsum(rng.uniform(-0.1, 1.2, 14))
        points = fixed_point(canvas.camera.project(u, z))
        cv2.polylines(canvas.image, [points], False, color, 1, cv2.LINE_AA, SUBPIXEL_BITS)


def _draw_manhole(canvas):
    rng, road = canvas.rng, canvas.scene.road
    if rng.random() < 0.3:
        cos, sin = circle(20)
        u, z = rng.uniform(0, road.lanes.right_m), rng.uniform(5, 25)
        ring = canvas.camera.project(u + 0.35 * cos, z + 0.35 * sin)
        canvas.fill(ring, np.multiply(road.asphalt, 0.55))


def _draw_lines(canvas):
    for line in canvas.scene.road.lines:
        left, right = line.u_m - line.width_m / 2, line.u_m + line.width_m / 2
        color = _faded(canvas, line.color, line.strength)
        for z0, z1 in _dashes(line):
            canvas.fill(canvas.camera.strip(left, right, z0, z1), color)


def _dashes(line):
    """The (z0, z1) of the dashes of a line, metres."""
    if not line.period_m:
        return [(0.0, FAR_M)]
    starts = np.arange(-line.phase_m, 110, line.period_m)
    return [(z, z + line.dash_m) for z in starts if z + line.dash_m > CLOSEST_M]


def _draw_crossing(canvas, crossing):
    """Bars, or a line at either end; and the ego direction's stop line."""
    strip, lanes = canvas.camera.strip, canvas.scene.road.lanes
    color = _faded(canvas, WHITE, 0.85)
    start, end = crossing.z_m, crossing.z_m + crossing.depth_m
    if crossing.kind == "bars":
        for u in np.arange(lanes.left_m + 0.3, lanes.right_m - 0.5, 1.1):
            canvas.fill(strip(u, u + 0.5, start, end), color)
    else:
        for z in (start, end):
            canvas.fill(strip(lanes.left_m, lanes.right_m, z, z + 0.3), color)
    canvas.fill(strip(0.3, lanes.right_m - 0.2, start - 1.6, start - 1.2), color)


def _draw_arrow(canvas, arrow):
    """A lane arrow of 3.4 m, straight on or to one side."""
    camera, u, z = canvas.camera, arrow.u_m, arrow.z_m
    color = _faded(canvas, WHITE, 0.85)
    canvas.fill(camera.strip(u - 0.09, u + 0.09, z, z + 2.4), color)
    if arrow.turn:
        across = arrow.turn * np.array([0, 0.5, 0.5, 1.0, 0.5, 0.5, 0])
        ahead = np.array([2.2, 2.2, 1.6, 2.4, 3.2, 2.6, 2.6])
    else:
        across, ahead = np.array([-0.4, 0.4, 0]), np.array([2.3, 2.3, 3.8])
    canvas.fill(camera.project(u + across, z + ahead), color)


def _faded(canvas, color, strength):
    """Paint colour over the asphalt at a strength of 0..1."""
    asphalt = np.asarray(canvas.scene.road.asphalt)
    return np.asarray(color) * strength + asphalt * (1 - strength)
