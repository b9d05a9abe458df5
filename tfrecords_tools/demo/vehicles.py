"""Draws one vehicle: sides, cabin, near face, lamps and wheels."""

import numpy as np

from tfrecords_tools.demo.canvas import Canvas
from tfrecords_tools.demo.geometry import CLOSEST_M, circle
from tfrecords_tools.demo.scene import Car


def draw_car(canvas: Canvas, car: Car) -> None:
    """Draws a car, van or truck, far parts first."""
    front, fill_obstacle = canvas.camera.front, canvas.fill_obstacle
    z, u0, u1, floor = car.z_m, car.left_m, car.right_m, car.floor_m
    body, dark, _ = _paints(canvas, car)
    canvas.hide_lamps(front(u0, u1, z, 0, car.height_m))
    canvas.mark_obstacle(canvas.camera.strip(u0, u1, z, car.end_m))
    for u, _ in _visible_sides(canvas, car):
        canvas.hide_lamps(canvas.camera.wall(u, z, car.end_m, 0, car.height_m))
        _draw_side(canvas, car, u)
    fill_obstacle(front(u0 + 0.05, u1 - 0.05, z, 0.1, 0.35), dark)
    for left in (u0 + 0.06, u1 - 0.3):
        fill_obstacle(front(left, left + 0.24, z + 0.1, 0, 0.4), dark)
    _draw_top(canvas, car)
    fill_obstacle(front(u0, u1, z, floor, car.belt_m), body * 0.92)
    canvas.fill(front(u0, u1, z, floor, floor + 0.2), body * 0.45 + dark * 0.2)
    _draw_lamps(canvas, car)


def _paints(canvas, car):
    """Body, dark parts and glass as seen at the car's distance."""
    return tuple(canvas.apparent_color(c, car.z_m) for c in (car.color, (18, 18, 20), (48, 56, 66)))


def _visible_sides(canvas, car):
    """(u, outward -1 left or 1 right) of the long sides that face the camera."""
    sides = []
    for u, outward in ((car.left_m, -1), (car.right_m, 1)):
        near, far = canvas.camera.project(u, [car.z_m, car.end_m])[:, 0]
        if (far - near) * outward > 0:
            sides.append((u, outward))
    return sides


def _draw_side(canvas, car, u):
    """One long side below the windows, with its wheels."""
    camera, (body, dark, _) = canvas.camera, _paints(canvas, car)
    canvas.fill_obstacle(camera.wall(u, car.z_m, car.end_m, car.floor_m, car.belt_m), body * 0.8)
    cos, sin = circle(16)
    radius = 0.32 if car.style == "car" else 0.4
    for center in (car.z_m + 0.18 * car.length_m, car.end_m - 0.2 * car.length_m):
        if center > CLOSEST_M + radius:
            wheel = camera.project(u, center + radius * cos, radius * (1 + sin))
            canvas.fill_obstacle(wheel, dark)


def _draw_top(canvas, car):
    """Cabin (or upper half of a van or truck): bonnet or boot, sides, roof and facing window."""
    project, fill_obstacle = canvas.camera.project, canvas.fill_obstacle
    body, _, glass = _paints(canvas, car)
    u0, u1, belt, top = car.left_m, car.right_m, car.belt_m, car.height_m
    sedan = car.style == "car"
    inset, slope = (0.16, 0.7) if sedan else (0.03, 0.08)
    deck = (1.0 if car.oncoming else 0.35) if sedan else 0.0  # Bonnet or boot.
    near, base, back = car.z_m, car.z_m + deck, car.end_m - 0.3
    roof, back_roof = base + slope, car.end_m - 0.3 - slope
    fill_obstacle(project([u0, u1, u1, u0], [near, near, base, base], belt), body * 1.05)
    for u, outward in _visible_sides(canvas, car):
        edge = u - outward * np.array([0, inset, inset, 0])
        side = project(edge, [base, roof, back_roof, back], [belt, top, top, belt])
        fill_obstacle(side, body * 0.8)
        if car.style != "truck":
            canvas.fill(_shrunk(side, 0.8, 0.8), glass * 0.9)
    narrow = [u0 + inset, u1 - inset, u1 - inset, u0 + inset]
    fill_obstacle(project(narrow, [roof, roof, back_roof, back_roof], top), body)
    corners = [u0, u1, u1 - inset, u0 + inset]
    pane = project(corners, [base, base, roof, roof], [belt, belt, top, top])
    fill_obstacle(pane, body * 0.95)
    if car.style != "truck" or car.oncoming:
        canvas.fill(_shrunk(pane, 0.86, 0.72), glass)


def _shrunk(points, across, upright):
    """Outline (n, 2), scaled about its middle by the two factors."""
    middle = points.mean(axis=0)
    return middle + (points - middle) * np.array([across, upright])


def _draw_lamps(canvas, car):
    """Head or tail lamps, number plate and grille; lamps glow in the dark."""
    front, fill, apparent_color = canvas.camera.front, canvas.fill, canvas.apparent_color
    z, belt, lit = car.z_m, car.belt_m, canvas.light.lamps_on
    shining = lit or car.braking
    if car.oncoming:
        width, strength, color = 0.34, 1.0, (250, 246, 226)
    else:
        width, strength, color = 0.28, 0.5, (214, 26, 22) if shining else (128, 22, 20)
    shown = color if shining else apparent_color(color, z)
    for left in (car.left_m + 0.04, car.right_m - 0.04 - width):
        lamp = front(left, left + width, z, belt * 0.68, belt * 0.86)
        fill(lamp, shown)
        if lit:
            canvas.add_lamp(lamp.mean(axis=0), z, 0.28, np.multiply(color, strength))
    middle = (car.left_m + car.right_m) / 2
    if car.oncoming:
        grille = front(middle - 0.45, middle + 0.45, z, belt * 0.5, belt * 0.75)
        fill(grille, apparent_color((22, 22, 24), z))
    plate = front(middle - 0.2, middle + 0.2, z, belt * 0.48, belt * 0.62)
    fill(plate, apparent_color((206, 206, 196), z))
