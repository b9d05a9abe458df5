"""Chooses cars at random: in the ego direction, in the opposite one, and parked."""

import numpy as np

from tfrecords_tools.demo.colors import CAR_COLORS, jitter, pick
from tfrecords_tools.demo.geometry import Camera
from tfrecords_tools.demo.scene import Car, Road

QUEUE_END_M = 95.0
LONGEST_QUEUE = 9


def sample_traffic(rng: np.random.Generator, road: Road, camera: Camera) -> tuple[Car, ...]:
    """All cars of the scene."""
    near_m = camera.nearest_m
    return (
        *_own_direction(rng, road, near_m),
        *_oncoming(rng, road, near_m),
        *_parked(rng, road, near_m),
    )


def _own_direction(rng: np.random.Generator, road: Road, near_m: float) -> list[Car]:
    jam = rng.random() < 0.23
    spacing = (1.5, 6.0) if jam else (6.0, 40.0)
    cars: list[Car] = []
    for i in range(road.lanes.own):
        if i == road.ego_lane:
            low, high, share = (1.5, 8.0, 0.97) if jam else (3.0, 50.0, 0.8)
            first = near_m + low + (high - low) * rng.random() ** 2
        else:
            low, high, share = (-2.0, 8.0, 0.95) if jam else (-3.0, 60.0, 0.66)
            first = near_m + rng.uniform(low, high)
        spread = 0.18 if rng.random() < 0.9 else 0.7
        if rng.random() < share:
            cars += _queue(rng, (i + 0.5) * road.lanes.width_m, first, spacing, spread, False)
    return cars


def _oncoming(rng: np.random.Generator, road: Road, near_m: float) -> list[Car]:
    """Oncoming cars; always some where no median or yellow line separates the directions."""
    lanes = road.lanes
    yellow_center = any(n.color[2] < 120 and abs(n.u_m) < 0.4 for n in road.lines)
    cued = lanes.median_m > 0 or yellow_center
    cars: list[Car] = []
    for j in range(lanes.opposite):
        u = -lanes.median_m - (j + 0.5) * lanes.width_m
        first = near_m + (rng.uniform(-3, 60) if cued else rng.uniform(2, 14))
        if not cued or rng.random() < 0.6:
            cars += _queue(rng, u, first, (6.0, 45.0), 0.2, True)
    return cars


def _parked(rng: np.random.Generator, road: Road, near_m: float) -> list[Car]:
    cars: list[Car] = []
    for u in road.parking_u_m:
        first = near_m + rng.uniform(-3, 9)
        cars += _queue(rng, u, first, (0.8, 3.5), 0.06, u < 0 < road.lanes.opposite)
    return cars


def _queue(
    rng: np.random.Generator,
    u: float,
    z: float,
    spacing_m: tuple[float, float],
    spread_m: float,
    oncoming: bool,
) -> list[Car]:
    """Cars of one lane from z on, with gaps of spacing_m (low, high)."""
    cars: list[Car] = []
    while z < QUEUE_END_M and len(cars) < LONGEST_QUEUE:
        car = _car(rng, u + rng.normal(0, spread_m), z, oncoming)
        cars.append(car)
        z += car.length_m + rng.uniform(*spacing_m)
    return cars


def _car(rng: np.random.Generator, u: float, z: float, oncoming: bool) -> Car:
    """One vehicle: mostly cars, some vans, few trucks."""
    style = str(rng.choice(["car", "van", "truck"], p=[0.76, 0.16, 0.08]))
    length, width, height = {
        "car": (rng.uniform(3.9, 4.9), rng.uniform(1.7, 1.9), rng.uniform(1.4, 1.75)),
        "van": (rng.uniform(4.8, 5.8), rng.uniform(1.85, 2.05), rng.uniform(1.9, 2.4)),
        "truck": (rng.uniform(7, 11), rng.uniform(2.2, 2.45), rng.uniform(2.8, 3.6)),
    }[style]
    color = jitter(rng, pick(rng, CAR_COLORS), 12)
    return Car(u, z, length, width, height, color, style, oncoming, bool(rng.random() < 0.4))
