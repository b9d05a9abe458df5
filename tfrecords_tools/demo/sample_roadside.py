"""Chooses objects beside the road at random: houses, trees, lamp posts, people, signs."""

import numpy as np

from tfrecords_tools.demo.colors import CAR_COLORS, jitter, pick
from tfrecords_tools.demo.geometry import CLOSEST_M
from tfrecords_tools.demo.scene import Crossing, House, Person, Pole, Road, Sign, Tree

END_M = 150


def sample_roadside(
    rng: np.random.Generator, place: str, road: Road
) -> tuple[tuple[House, ...], tuple[Tree, ...], tuple[Pole, ...]]:
    """Houses, trees and lamp posts."""
    houses: list[House] = []
    trees: list[Tree] = []
    poles: list[Pole] = []
    for side, edge in ((1, road.right_m), (-1, road.left_m)):
        if place == "city" or (place == "suburb" and rng.random() < 0.7):
            houses += _houses(rng, place, side, edge)
        trees += _trees(rng, place, side, edge)
        if rng.random() < 0.6:
            step, z = rng.uniform(18, 40), rng.uniform(4, 30)
            poles += [Pole(edge + side * 0.5, z + k * step, 7.5, -side) for k in range(5)]
    return tuple(houses), tuple(trees), tuple(poles)


def _houses(rng: np.random.Generator, place: str, side: int, edge: float) -> list[House]:
    """A row of houses, without those that end beside the camera."""
    city = place == "city"
    u = edge + side * (rng.uniform(0.2, 2.5) if city else rng.uniform(5.0, 12.0))
    houses: list[House] = []
    z = rng.uniform(-4, 25)
    while z < END_M:
        width = rng.uniform(8, 16)
        height = rng.uniform(6, 20) if city else rng.uniform(4, 7)
        color = jitter(rng, pick(rng, [(150, 120, 100), (168, 160, 150), (122, 116, 118)]), 26)
        if rng.random() < 0.85:
            houses.append(House(u, side, max(z, CLOSEST_M), z + width, height, color))
        z += width + (0.0 if city and rng.random() < 0.8 else rng.uniform(4, 14))
    return [house for house in houses if house.end_m > 3]


def _trees(rng: np.random.Generator, place: str, side: int, edge: float) -> list[Tree]:
    density = {"city": 0.35, "suburb": 0.7, "highway": 0.5, "country": 0.75}[place]
    trees: list[Tree] = []
    z = rng.uniform(2, 20)
    while z < END_M:
        if rng.random() < density:
            u = edge + side * rng.uniform(0.4, 1.0 if place == "city" else 9.0)
            radius = rng.uniform(1.2, 3.4)
            color = jitter(rng, (62, 82, 44), 20)
            trees.append(Tree(u, z, radius + rng.uniform(1.4, 3.0), radius, color))
        z += rng.uniform(6, 22)
    return trees


def sample_street_life(
    rng: np.random.Generator, place: str, road: Road, crossings: tuple[Crossing, ...]
) -> tuple[tuple[Person, ...], tuple[Sign, ...]]:
    """People on pavements and crossings, and signs and signals."""
    people: list[Person] = []
    signs: list[Sign] = []
    lanes = road.lanes
    for side, edge, lane in ((1, road.right_m, lanes.right_m), (-1, road.left_m, lanes.left_m)):
        crowd = {"city": 3.0, "suburb": 0.8}.get(place, 0.0) if abs(edge - lane) > 1.6 else 0.0
        for _ in range(rng.poisson(crowd)):
            people.append(_person(rng, edge - side * rng.uniform(0.3, 1.3), rng.uniform(6, 60)))
        if rng.random() < 0.5:
            signs.append(Sign(edge + side * rng.uniform(0.2, 0.8), rng.uniform(9, 70), "sign"))
    for crossing in crossings:
        z, depth = crossing.z_m, crossing.depth_m
        for _ in range(rng.poisson(0.8)):
            u = rng.uniform(road.left_m, road.right_m)
            people.append(_person(rng, u, z + rng.uniform(0.2, 0.8) * depth))
        if rng.random() < 0.5:
            signs += [Sign(u, z + depth + 1.5, "signal") for u in (road.right_m, road.left_m)]
    return tuple(people), tuple(signs)


def _person(rng: np.random.Generator, u: float, z: float) -> Person:
    coat, trousers = jitter(rng, pick(rng, CAR_COLORS), 20), jitter(rng, (58, 58, 70), 30)
    return Person(u, z, rng.uniform(1.5, 1.9), coat, trousers)
