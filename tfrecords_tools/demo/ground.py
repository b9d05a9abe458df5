"""The ground: asphalt and what borders it, repairs, markings."""

import cv2
import numpy as np

from tfrecords_tools.demo.colors import WHITE
from tfrecords_tools.demo.drawing import SUBPIXEL_BITS, fixed_point
from tfrecords_tools.demo.geometry import CLOSEST_M, FAR_M, circle
from tfrecords_tools.demo.shading import shade_ground


def draw_ground(drawing):
    """Ground, road, markings and shadows, lit."""
    camera, road = drawing.camera, drawing.scene.road
    height, width = camera.size
    x = np.array([-9, width + 9])
    y = camera.horizon_y(x)
    corners = [(x[0], y[0]), (x[1], y[1]), (x[1], height + 9), (x[0], height + 9)]
    drawing.fill(np.array(corners), drawing.scene.ground)
    for strip in road.strips:
        drawing.fill(camera.strip(strip.left_m, strip.right_m, 0, FAR_M), strip.color)
    _draw_patches(drawing)
    _draw_cracks(drawing)
    _draw_manhole(drawing)
    top = int(np.clip(y.min() - 1, 0, height - 2))
    unmarked = drawing.canvas[top:].copy()
    _draw_lines(drawing)
    for crossing in drawing.scene.crossings:
        _draw_crossing(drawing, crossing)
    for arrow in drawing.scene.arrows:
        _draw_arrow(drawing, arrow)
    shade_ground(drawing, unmarked, top)


def _draw_patches(drawing):
    """Other asphalt, filled in later."""
    rng, road = drawing.rng, drawing.scene.road
    for _ in range(rng.poisson(3)):
        u, z = rng.uniform(road.left_m, road.right_m), rng.uniform(3, 50)
        color = np.add(road.asphalt, rng.uniform(-24, 16))
        right, end = min(u + rng.uniform(0.6, 3.2), road.right_m), z + rng.uniform(1, 14)
        drawing.fill(drawing.camera.strip(u, right, z, end), color)


def _draw_cracks(drawing):
    rng, road = drawing.rng, drawing.scene.road
    color = [float(c) * 0.6 for c in road.asphalt]
    for _ in range(rng.poisson(4)):
        u = rng.uniform(road.left_m, road.right_m) + np.cumsum(rng.normal(0, 0.16, 14))
        z = rng.uniform(3, 25) + np.cumsum(rng.uniform(-0.1, 1.2, 14))
        points = fixed_point(drawing.camera.project(u, z))
        cv2.polylines(drawing.canvas, [points], False, color, 1, cv2.LINE_AA, SUBPIXEL_BITS)


def _draw_manhole(drawing):
    rng, road = drawing.rng, drawing.scene.road
    if rng.random() < 0.3:
        cos, sin = circle(20)
        u, z = rng.uniform(0, road.lanes.right_m), rng.uniform(5, 25)
        ring = drawing.camera.project(u + 0.35 * cos, z + 0.35 * sin)
        drawing.fill(ring, np.multiply(road.asphalt, 0.55))


def _draw_lines(drawing):
    for line in drawing.scene.road.lines:
        left, right = line.u_m - line.width_m / 2, line.u_m + line.width_m / 2
        color = _faded(drawing, line.color, line.strength)
        for z0, z1 in _dashes(line):
            drawing.fill(drawing.camera.strip(left, right, z0, z1), color)


def _dashes(line):
    """The (z0, z1) pieces of a line, metres."""
    if not line.period_m:
        return [(0.0, FAR_M)]
    starts = np.arange(-line.phase_m, 110, line.period_m)
    return [(z, z + line.dash_m) for z in starts if z + line.dash_m > CLOSEST_M]


def _draw_crossing(drawing, crossing):
    """Bars, or a line at either end; and our stop line."""
    strip, lanes = drawing.camera.strip, drawing.scene.road.lanes
    color = _faded(drawing, WHITE, 0.85)
    start, end = crossing.z_m, crossing.z_m + crossing.depth_m
    if crossing.kind == "bars":
        for u in np.arange(lanes.left_m + 0.3, lanes.right_m - 0.5, 1.1):
            drawing.fill(strip(u, u + 0.5, start, end), color)
    else:
        for z in (start, end):
            drawing.fill(strip(lanes.left_m, lanes.right_m, z, z + 0.3), color)
    drawing.fill(strip(0.3, lanes.right_m - 0.2, start - 1.6, start - 1.2), color)


def _draw_arrow(drawing, arrow):
    """A lane arrow of 3.4 m: straight on, or bent to one side."""
    camera, u, z = drawing.camera, arrow.u_m, arrow.z_m
    color = _faded(drawing, WHITE, 0.85)
    drawing.fill(camera.strip(u - 0.09, u + 0.09, z, z + 2.4), color)
    if arrow.turn:
        across = arrow.turn * np.array([0, 0.5, 0.5, 1.0, 0.5, 0.5, 0])
        ahead = np.array([2.2, 2.2, 1.6, 2.4, 3.2, 2.6, 2.6])
    else:
        across, ahead = np.array([-0.4, 0.4, 0]), np.array([2.3, 2.3, 3.8])
    drawing.fill(camera.project(u + across, z + ahead), color)


def _faded(drawing, color, strength):
    """Paint colour over our asphalt at the given strength 0..1."""
    asphalt = np.asarray(drawing.scene.road.asphalt)
    return np.asarray(color) * strength + asphalt * (1 - strength)
