"""Chooses the parameters of one frame at random: place, road, camera, light and objects.

All random numbers come from one generator in a fixed order. Changing the order changes the data
set, which then needs another VERSION in dataset.py.
"""

import numpy as np

from kseg.preprocess import Size
from tfrecords_tools.demo.colors import CAR_COLORS, GRASS, Color, jitter, pick
from tfrecords_tools.demo.geometry import Camera
from tfrecords_tools.demo.sample_road import sample_paint, sample_road
from tfrecords_tools.demo.sample_roadside import sample_roadside, sample_street_life
from tfrecords_tools.demo.sample_traffic import sample_traffic
from tfrecords_tools.demo.scene import Bonnet, Light, Road, Scene


def sample_scene(rng: np.random.Generator, size: Size) -> Scene:
    """Returns the Scene of one frame of `size` (height, width) pixels."""
    place = str(rng.choice(["city", "suburb", "highway", "country"], p=[0.42, 0.24, 0.22, 0.12]))
    road = sample_road(rng, place)
    camera = _camera(rng, size, place, road)
    light = _light(rng)
    cars = sample_traffic(rng, road, camera)
    houses, trees, poles = sample_roadside(rng, place, road)
    crossings, arrows = sample_paint(rng, place, road.lanes)
    people, signs = sample_street_life(rng, place, road, crossings)
    return Scene(
        camera=camera,
        road=road,
        light=light,
        place=place,
        cars=cars,
        houses=houses,
        trees=trees,
        poles=poles,
        crossings=crossings,
        arrows=arrows,
        people=people,
        signs=signs,
        bonnet=_bonnet(rng),
        ground=_ground(rng, place),
        seed=int(rng.integers(2**31)),
    )


def _camera(rng: np.random.Generator, size: Size, place: str, road: Road) -> Camera:
    """Mounting height, lens, aim and position in the lane, sometimes during a lane change."""
    height_px, width_px = size
    changing = rng.random() < 0.15
    offset = rng.uniform(-0.36, 0.36) if changing else np.clip(rng.normal(0, 0.11), -0.3, 0.3)
    yaw = np.radians(rng.uniform(-7, 7) if changing else rng.normal(0, 1.6))
    tightest_1_m = {"city": 1 / 160, "suburb": 1 / 90, "highway": 1 / 220, "country": 1 / 70}[place]
    bend = tightest_1_m * rng.uniform(-1, 1) if rng.random() < 0.62 else rng.normal(0, 4e-4)
    return Camera(
        size=size,
        focal_px=width_px * rng.uniform(0.62, 1.05),
        horizon_px=height_px * np.clip(rng.normal(0.52, 0.075), 0.36, 0.68),
        height_m=rng.uniform(1.2, 1.65) if rng.random() < 0.85 else rng.uniform(1.65, 2.3),
        u_m=(road.ego_lane + 0.5 + offset) * road.lanes.width_m,
        yaw=yaw,
        roll=rng.normal(0, 0.009),
        curvature_1_m=bend,
        twist_1_m2=rng.normal(0, 1.2e-5) - bend * rng.uniform(0, 0.01),
    )


def _light(rng: np.random.Generator) -> Light:
    """Light, weather and lens. Nights are bright enough for lines to stay visible."""
    kind = str(rng.choice(["sun", "overcast", "dusk", "night"], p=[0.4, 0.28, 0.12, 0.2]))
    ambient = {"sun": 1.0, "overcast": 0.86, "dusk": 0.6, "night": rng.uniform(0.24, 0.38)}[kind]
    hazy = kind != "night" and rng.random() < 0.1
    haze = rng.uniform(0.008, 0.04) if hazy else rng.uniform(0.0006, 0.003)
    fog_color = {
        "sun": (196, 210, 226),
        "overcast": (190, 194, 198),
        "dusk": (176, 150, 140),
        "night": (26, 28, 36),
    }[kind]
    glare = None
    if kind in ("sun", "dusk") and rng.random() < 0.25:
        glare = (rng.uniform(0.1, 0.9), rng.uniform(0.05, 0.4), rng.uniform(0.3, 0.9))
    warm = np.clip(rng.normal(0, 0.045), -0.09, 0.09)
    exposure = np.exp(np.clip(rng.normal(0, 0.13), -0.25, 0.25))
    sun_side = pick(rng, (-1, 1))
    return Light(
        kind=kind,
        ambient=ambient,
        shadow=rng.uniform(0.4, 0.66) if kind == "sun" else 0.0,
        shadow_shift=(sun_side * rng.uniform(0.4, 1.6), rng.uniform(-0.7, 0.7)),
        fog_1_m=haze,
        fog_color=fog_color,
        wet=rng.uniform(0.25, 0.6) if rng.random() < 0.18 and kind != "sun" else 0.0,
        glare=glare,
        gains=tuple(exposure * np.array([1 + warm, 1 + rng.normal(0, 0.02), 1 - warm])),
        contrast=rng.uniform(0.85, 1.15),
        blur_px=rng.uniform(0.4, 1.0) if rng.random() < 0.85 else rng.uniform(1.0, 2.2),
        noise=rng.uniform(3, 9) if kind == "night" else rng.uniform(0.8, 4),
    )


def _bonnet(rng: np.random.Generator) -> Bonnet | None:
    if rng.random() < 0.25:
        return Bonnet(rng.uniform(0.03, 0.12), rng.uniform(-0.3, 0.3), pick(rng, CAR_COLORS))
    return None


def _ground(rng: np.random.Generator, place: str) -> Color:
    """The colour of the ground beside the road."""
    return {
        "city": jitter(rng, (128, 124, 118), 22),
        "suburb": jitter(rng, GRASS, 18),
        "highway": jitter(rng, (118, 116, 74), 26),
        "country": jitter(rng, (104, 112, 58), 26),
    }[place]
