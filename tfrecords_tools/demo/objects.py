"""What stands on the ground, drawn far to near: barriers, houses, trees, people, cars."""

import cv2
import numpy as np

from tfrecords_tools.demo.colors import pick
from tfrecords_tools.demo.drawing import soft_noise
from tfrecords_tools.demo.geometry import CLOSEST_M, FAR_M, circle
from tfrecords_tools.demo.scene import Car, House, Person, Pole, Sign, Tree
from tfrecords_tools.demo.vehicles import draw_car

HOUSE_DEPTH_M = 9.0
LIT_GLASS = (206, 176, 110)
SIGN_COLORS = ((196, 40, 36), (40, 84, 160), (228, 226, 220), (226, 186, 40))
SIGNAL_COLORS = ((70, 230, 120), (250, 190, 60), (250, 50, 40))


def draw_objects(drawing):
    """Draws them all; what they cover is then no road."""
    scene = drawing.scene
    for barrier in scene.road.barriers:
        _draw_barrier(drawing, barrier)
    cars = [car for car in scene.cars if car.end_m > 1.5]
    things = [*scene.houses, *scene.trees, *scene.poles, *scene.people, *scene.signs, *cars]
    draw = {
        House: _draw_house,
        Tree: _draw_tree,
        Pole: _draw_pole,
        Person: _draw_person,
        Sign: _draw_sign,
        Car: draw_car,
    }
    for thing in sorted(things, key=lambda t: -t.z_m):
        draw[type(thing)](drawing, thing)
    _mottle(drawing)


def _draw_barrier(drawing, barrier):
    wall, u, height = drawing.camera.wall, barrier.u_m, barrier.height_m
    for z0, z1 in ((40, FAR_M), (15, 40), (6, 15), (CLOSEST_M, 6)):
        drawing.stand(wall(u, z0, z1, 0, height), drawing.seen((128, 126, 122), z0))
        drawing.fill(wall(u, z0, z1, height * 0.88, height), drawing.seen((168, 166, 160), z0))


def _draw_house(drawing, house):
    """A block: the side facing us, its street side, and windows in both."""
    camera, z0, u = drawing.camera, house.start_m, house.u_m
    end = camera.front(u, u + house.side * HOUSE_DEPTH_M, z0, 0, house.height_m)
    street = camera.wall(u, z0, house.end_m, 0, house.height_m)
    shade = drawing.rng.uniform(0.72, 0.95)
    drawing.stand(end, drawing.seen(house.color, z0))
    drawing.stand(street, drawing.seen(np.multiply(house.color, shade), z0))
    drawing.hide_lamps(end)
    drawing.hide_lamps(street)
    if z0 <= 80:
        _draw_windows(drawing, house)


def _draw_windows(drawing, house):
    camera, rng, z0, u = drawing.camera, drawing.rng, house.start_m, house.u_m
    dark = drawing.seen((52, 58, 68), z0)

    def glass():
        return LIT_GLASS if drawing.light.lamps_on and rng.random() < 0.3 else dark

    for low in np.arange(0.9, house.height_m - 1.6, 3.1):
        for z in np.arange(z0 + 1.0, house.end_m - 1.6, 2.7):
            drawing.fill(camera.wall(u, z, z + 1.4, low, low + 1.6), glass())
        for left in np.arange(1.0, HOUSE_DEPTH_M - 1.6, 2.7):
            ends = u + house.side * left, u + house.side * (left + 1.3)
            drawing.fill(camera.front(*ends, z0, low, low + 1.6), glass())


def _draw_tree(drawing, tree):
    """A trunk, and a crown of discs, those above later and brighter."""
    camera, rng = drawing.camera, drawing.rng
    u, z, tall, radius = tree.u_m, tree.z_m, tree.trunk_m, tree.radius_m
    trunk = camera.front(u - 0.14, u + 0.14, z, 0, tall)
    drawing.stand(trunk, drawing.seen((74, 60, 48), z))
    scale = camera.focal_px / z
    count = int(np.clip(radius * scale / 2, 6, 80))
    spots = np.clip(rng.normal(0, 0.4, (count, 2)), -0.75, 0.75) * radius
    smallest, largest = (0.3, 0.5) if count < 30 else (0.14, 0.38)
    for du, up in spots[np.argsort(spots[:, 1] + rng.normal(0, 0.3 * radius, count))]:
        x, y = (int(c) for c in camera.project(u + du, z, tall + up))
        size = max(1, int(radius * rng.uniform(smallest, largest) * scale))
        shade = np.multiply(tree.color, 0.85 + 0.4 * up / radius + rng.uniform(-0.2, 0.2))
        tint = [float(c) for c in np.clip(drawing.seen(shade, z), 0, 255)]
        cv2.circle(drawing.canvas, (x, y), size, tint, -1, cv2.LINE_AA)
        cv2.circle(drawing.solid, (x, y), size, 255, -1)


def _draw_pole(drawing, pole):
    """A lamp post whose arm reaches over the road."""
    camera, u, z, height = drawing.camera, pole.u_m, pole.z_m, pole.height_m
    color = drawing.seen((96, 98, 100), z)
    drawing.stand(camera.front(u - 0.07, u + 0.07, z, 0, height), color)
    tip = u + pole.toward * 1.8
    drawing.stand(camera.front(*sorted((u, tip)), z, height - 0.12, height), color)
    if drawing.light.lamps_on:
        drawing.shine(camera.project(tip, z, height - 0.15), z, 0.4, (255, 214, 150))


def _draw_person(drawing, person):
    camera, u, z, height = drawing.camera, person.u_m, person.z_m, person.height_m
    for left in (u - 0.2, u + 0.03):
        leg = camera.front(left, left + 0.16, z, 0, 0.5 * height)
        drawing.stand(leg, drawing.seen(person.trousers, z))
    torso = camera.front(u - 0.25, u + 0.25, z, 0.45 * height, 0.84 * height)
    drawing.stand(torso, drawing.seen(person.coat, z))
    cos, sin = circle(12)
    head = camera.project(u + 0.11 * cos, z, 0.92 * height + 0.13 * sin)
    drawing.stand(head, drawing.seen((176, 134, 110), z))


def _draw_sign(drawing, sign):
    """A road sign, or a signal with one lamp lit."""
    front, rng, u, z = drawing.camera.front, drawing.rng, sign.u_m, sign.z_m
    drawing.stand(front(u - 0.05, u + 0.05, z, 0, 3), drawing.seen((110, 112, 114), z))
    if sign.kind == "sign":
        color = pick(rng, SIGN_COLORS)
        plate = front(u - 0.38, u + 0.38, z, 2.2, 2.2 + rng.uniform(0.5, 1.0))
        drawing.stand(plate, drawing.seen(color, z))
        return
    drawing.stand(front(u - 0.2, u + 0.2, z, 2.4, 3.5), drawing.seen((24, 24, 26), z))
    lit = rng.integers(3)
    lamp = front(u - 0.12, u + 0.12, z, 2.5 + 0.33 * lit, 2.74 + 0.33 * lit)
    drawing.fill(lamp, SIGNAL_COLORS[lit])
    drawing.shine(lamp.mean(axis=0), z, 0.12, np.multiply(SIGNAL_COLORS[lit], 0.3))


def _mottle(drawing):
    """Uneven paint, plaster and leaves: brightness of all that stands varies a little."""
    height, width = drawing.solid.shape
    half = height // 2, width // 2
    noise = 0.03 * soft_noise(drawing.rng, half, 90)
    noise += 0.07 * soft_noise(drawing.rng, half, 9)
    factor = cv2.resize(1 + noise, (width, height))
    varied = cv2.multiply(drawing.canvas, cv2.merge([factor] * 3), dtype=cv2.CV_8U)
    cv2.copyTo(varied, drawing.solid, drawing.canvas)
