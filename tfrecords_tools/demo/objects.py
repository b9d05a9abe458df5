"""Draws objects on the ground from far to near: barriers, houses, trees, people, cars."""

from typing import Any

import cv2
import numpy as np

from tfrecords_tools.demo.canvas import Canvas, soft_noise
from tfrecords_tools.demo.colors import pick
from tfrecords_tools.demo.geometry import CLOSEST_M, FAR_M, circle
from tfrecords_tools.demo.scene import Car, House, Person, Pole, Sign, Tree
from tfrecords_tools.demo.vehicles import draw_car

HOUSE_DEPTH_M = 9.0
LIT_GLASS = (206, 176, 110)
SIGN_COLORS = ((196, 40, 36), (40, 84, 160), (228, 226, 220), (226, 186, 40))
SIGNAL_COLORS = ((70, 230, 120), (250, 190, 60), (250, 50, 40))


def draw_objects(canvas: Canvas) -> None:
    """Draws all objects of the scene, and marks their pixels as covered."""
    scene = canvas.scene
    for barrier in scene.road.barriers:
        _draw_barrier(canvas, barrier)
    objects: list[Any] = [*scene.houses, *scene.trees, *scene.poles, *scene.people, *scene.signs]
    objects += [car for car in scene.cars if car.end_m > 1.5]
    draw = {
        House: _draw_house,
        Tree: _draw_tree,
        Pole: _draw_pole,
        Person: _draw_person,
        Sign: _draw_sign,
        Car: draw_car,
    }
    for item in sorted(objects, key=lambda item: -item.z_m):
        draw[type(item)](canvas, item)
    _mottle(canvas)


def _draw_barrier(canvas, barrier):
    wall, u, height = canvas.camera.wall, barrier.u_m, barrier.height_m
    for z0, z1 in ((40, FAR_M), (15, 40), (6, 15), (CLOSEST_M, 6)):
        side, top = (canvas.apparent_color(c, z0) for c in ((128, 126, 122), (168, 166, 160)))
        canvas.fill_obstacle(wall(u, z0, z1, 0, height), side)
        canvas.fill(wall(u, z0, z1, height * 0.88, height), top)


def _draw_house(canvas, house):
    """A block: the side facing the camera, its street side, and windows in both."""
    camera, z0, u = canvas.camera, house.start_m, house.u_m
    end = camera.front(u, u + house.side * HOUSE_DEPTH_M, z0, 0, house.height_m)
    street = camera.wall(u, z0, house.end_m, 0, house.height_m)
    shade = canvas.rng.uniform(0.72, 0.95)
    canvas.fill_obstacle(end, canvas.apparent_color(house.color, z0))
    canvas.fill_obstacle(street, canvas.apparent_color(np.multiply(house.color, shade), z0))
    canvas.hide_lamps(end)
    canvas.hide_lamps(street)
    if z0 <= 80:
        _draw_windows(canvas, house)


def _draw_windows(canvas, house):
    camera, rng, z0, u = canvas.camera, canvas.rng, house.start_m, house.u_m
    dark = canvas.apparent_color((52, 58, 68), z0)

    def glass():
        return LIT_GLASS if canvas.light.lamps_on and rng.random() < 0.3 else dark

    for low in np.arange(0.9, house.height_m - 1.6, 3.1):
        for z in np.arange(z0 + 1.0, house.end_m - 1.6, 2.7):
            canvas.fill(camera.wall(u, z, z + 1.4, low, low + 1.6), glass())
        for left in np.arange(1.0, HOUSE_DEPTH_M - 1.6, 2.7):
            ends = u + house.side * left, u + house.side * (left + 1.3)
            canvas.fill(camera.front(*ends, z0, low, low + 1.6), glass())


def _draw_tree(canvas, tree):
    """A trunk, and a crown of discs; upper ones are drawn later and brighter."""
    camera, rng = canvas.camera, canvas.rng
    u, z, tall, radius = tree.u_m, tree.z_m, tree.trunk_m, tree.radius_m
    trunk = camera.front(u - 0.14, u + 0.14, z, 0, tall)
    canvas.fill_obstacle(trunk, canvas.apparent_color((74, 60, 48), z))
    scale = camera.focal_px / z
    count = int(np.clip(radius * scale / 2, 6, 80))
    spots = np.clip(rng.normal(0, 0.4, (count, 2)), -0.75, 0.75) * radius
    smallest, largest = (0.3, 0.5) if count < 30 else (0.14, 0.38)
    for du, up in spots[np.argsort(spots[:, 1] + rng.normal(0, 0.3 * radius, count))]:
        x, y = (int(c) for c in camera.project(u + du, z, tall + up))
        size = max(1, int(radius * rng.uniform(smallest, largest) * scale))
        shade = np.multiply(tree.color, 0.85 + 0.4 * up / radius + rng.uniform(-0.2, 0.2))
        tint = [float(c) for c in np.clip(canvas.apparent_color(shade, z), 0, 255)]
        cv2.circle(canvas.image, (x, y), size, tint, -1, cv2.LINE_AA)
        cv2.circle(canvas.obstacles, (x, y), size, 255, -1)


def _draw_pole(canvas, pole):
    """A lamp post whose arm reaches over the road."""
    camera, u, z, height = canvas.camera, pole.u_m, pole.z_m, pole.height_m
    color = canvas.apparent_color((96, 98, 100), z)
    canvas.fill_obstacle(camera.front(u - 0.07, u + 0.07, z, 0, height), color)
    tip = u + pole.toward * 1.8
    canvas.fill_obstacle(camera.front(*sorted((u, tip)), z, height - 0.12, height), color)
    if canvas.light.lamps_on:
        canvas.add_lamp(camera.project(tip, z, height - 0.15), z, 0.4, (255, 214, 150))


def _draw_person(canvas, person):
    camera, u, z, height = canvas.camera, person.u_m, person.z_m, person.height_m
    for left in (u - 0.2, u + 0.03):
        leg = camera.front(left, left + 0.16, z, 0, 0.5 * height)
        canvas.fill_obstacle(leg, canvas.apparent_color(person.trousers, z))
    torso = camera.front(u - 0.25, u + 0.25, z, 0.45 * height, 0.84 * height)
    canvas.fill_obstacle(torso, canvas.apparent_color(person.coat, z))
    cos, sin = circle(12)
    head = camera.project(u + 0.11 * cos, z, 0.92 * height + 0.13 * sin)
    canvas.fill_obstacle(head, canvas.apparent_color((176, 134, 110), z))


def _draw_sign(canvas, sign):
    """A road sign, or a signal with one lamp lit."""
    front, rng, u, z = canvas.camera.front, canvas.rng, sign.u_m, sign.z_m
    post = front(u - 0.05, u + 0.05, z, 0, 3)
    canvas.fill_obstacle(post, canvas.apparent_color((110, 112, 114), z))
    if sign.kind == "sign":
        color = pick(rng, SIGN_COLORS)
        plate = front(u - 0.38, u + 0.38, z, 2.2, 2.2 + rng.uniform(0.5, 1.0))
        canvas.fill_obstacle(plate, canvas.apparent_color(color, z))
        return
    case = front(u - 0.2, u + 0.2, z, 2.4, 3.5)
    canvas.fill_obstacle(case, canvas.apparent_color((24, 24, 26), z))
    lit = rng.integers(3)
    lamp = front(u - 0.12, u + 0.12, z, 2.5 + 0.33 * lit, 2.74 + 0.33 * lit)
    canvas.fill(lamp, SIGNAL_COLORS[lit])
    canvas.add_lamp(lamp.mean(axis=0), z, 0.12, np.multiply(SIGNAL_COLORS[lit], 0.3))


def _mottle(canvas):
    """Uneven paint, plaster and leaves: small variations of the objects' brightness."""
    height, width = canvas.obstacles.shape
    half = height // 2, width // 2
    noise = 0.03 * soft_noise(canvas.rng, half, 90)
    noise += 0.07 * soft_noise(canvas.rng, half, 9)
    factor = cv2.resize(1 + noise, (width, height))
    varied = cv2.multiply(canvas.image, cv2.merge([factor] * 3), dtype=cv2.CV_8U)
    cv2.copyTo(varied, canvas.obstacles, canvas.image)
