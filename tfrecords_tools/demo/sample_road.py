"""Chooses the cross-section of the road and its markings at random."""

from dataclasses import dataclass, field

import numpy as np

from tfrecords_tools.demo.colors import GRASS, WHITE, YELLOW, Color, jitter, pick
from tfrecords_tools.demo.scene import Arrow, Barrier, Crossing, Lanes, Line, Road, Strip


def sample_road(rng: np.random.Generator, place: str) -> Road:
    """Lanes, the strips beside them, and their markings."""
    lanes = _lanes(rng, place)
    asphalt = jitter(rng, (104, 104, 106), 34)
    right = _side(rng, place, lanes.right_m, 1, asphalt)
    left = _side(rng, place, lanes.left_m, -1, asphalt)
    strips = [Strip(lanes.left_m, lanes.right_m, asphalt), *right.strips, *left.strips]
    if lanes.median_m:
        strips += _median(rng, lanes)
    barriers = _barriers(rng, lanes, right, left) if place == "highway" else []
    return Road(
        lanes=lanes,
        left_m=left.outer_m,
        right_m=right.outer_m,
        asphalt=asphalt,
        strips=tuple(strips),
        parking_u_m=tuple(right.parking_u_m + left.parking_u_m),
        barriers=tuple(barriers),
        lines=tuple(_lines(rng, lanes, right, left)),
        ego_lane=int(rng.integers(lanes.own)),
    )


def _lanes(rng: np.random.Generator, place: str) -> Lanes:
    shares = {
        "city": [0.46, 0.36, 0.13, 0.05],
        "suburb": [0.62, 0.32, 0.06, 0.0],
        "highway": [0.08, 0.34, 0.34, 0.24],
        "country": [0.92, 0.08, 0.0, 0.0],
    }[place]
    own = 1 + int(rng.choice(4, p=shares))
    one_way = {"city": 0.3, "suburb": 0.12, "highway": 0.35, "country": 0.1}[place]
    opposite = 0 if rng.random() < one_way else int(np.clip(own + rng.integers(-1, 2), 1, 3))
    width = rng.uniform(3.4, 3.9) if place == "highway" else rng.uniform(2.8, 3.7)
    median_share = {"city": 0.12, "suburb": 0.1, "highway": 0.7, "country": 0.0}[place]
    median = rng.uniform(1.0, 4.0) if opposite and rng.random() < median_share else 0.0
    return Lanes(width, own, opposite, median)


@dataclass
class _Side:
    """The strips outside the outer lane, from there outwards. All of them are background."""

    sign: int  # 1 on the right, -1 on the left
    outer_m: float  # u of the outer edge so far
    strips: list[Strip] = field(default_factory=list)
    parking_u_m: list[float] = field(default_factory=list)

    def add(self, width: float, color: Color) -> None:
        outer = self.outer_m + self.sign * width
        left, right = sorted((self.outer_m, outer))
        self.strips.append(Strip(left, right, color))
        self.outer_m = outer

    @property
    def paved(self) -> bool:
        """Whether asphalt, rather than a kerb or grass, borders the lane."""
        return bool(self.strips) and self.strips[0].right_m - self.strips[0].left_m > 0.3


def _side(rng: np.random.Generator, place: str, edge_m: float, sign: int, asphalt: Color) -> _Side:
    """A shoulder, or parked cars, kerb, verge and pavement."""
    side = _Side(sign, edge_m)
    if place in ("highway", "country"):
        same = rng.random() < 0.7
        width = rng.uniform(0.4, 2.6 if place == "highway" else 1.2)
        side.add(width, asphalt if same else jitter(rng, np.add(asphalt, 14), 12))
        return side
    if rng.random() < (0.5 if place == "city" else 0.3):
        width = rng.uniform(2.1, 2.5)
        side.parking_u_m.append(side.outer_m + sign * (width / 2 - 0.1))
        side.add(width, asphalt)
    elif rng.random() < 0.3:
        side.add(rng.uniform(0.5, 1.6), asphalt)
    if rng.random() < (0.95 if place == "city" else 0.6):
        side.add(0.22, jitter(rng, (168, 166, 160), 18))
        if rng.random() < 0.3:
            side.add(rng.uniform(0.6, 1.8), jitter(rng, GRASS, 16))
        same = rng.random() < 0.25
        color = jitter(rng, asphalt, 8) if same else jitter(rng, (152, 148, 142), 20)
        side.add(rng.uniform(1.5, 4.0), color)
    return side


def _median(rng: np.random.Generator, lanes: Lanes) -> tuple[Strip, Strip]:
    """A kerb with grass or stone inside."""
    inside = jitter(rng, (112, 118, 84) if rng.random() < 0.6 else (150, 148, 144), 18)
    kerb = jitter(rng, (170, 168, 162), 12)
    return Strip(-lanes.median_m, 0.0, kerb), Strip(-lanes.median_m + 0.2, -0.2, inside)


def _barriers(rng: np.random.Generator, lanes: Lanes, right: _Side, left: _Side) -> list[Barrier]:
    barriers: list[Barrier] = []
    if lanes.median_m and rng.random() < 0.6:
        barriers.append(Barrier(-lanes.median_m / 2, rng.uniform(0.7, 1.1)))
    for u in (right.outer_m + 0.4, left.outer_m - 0.4):
        if rng.random() < 0.55:
            barriers.append(Barrier(u, rng.uniform(0.6, 1.0)))
    return barriers


def _lines(rng: np.random.Generator, lanes: Lanes, right: _Side, left: _Side) -> list[Line]:
    """Lengthwise markings. Some cue always separates the ego direction from the opposite lanes."""
    worn = rng.random() < 0.3
    wear = rng.uniform(0.5, 0.75) if worn else rng.uniform(0.8, 1.0)
    paint_m = rng.uniform(0.13, 0.22)
    dash = pick(rng, [(3.0, 9.0), (3.0, 7.5), (2.0, 5.0), (4.0, 10.0)])
    phase = rng.uniform(0, 12)
    white, yellow = jitter(rng, WHITE, 12), jitter(rng, YELLOW, 14)

    def line(u, color=white, dashed=False):
        dash_m, period_m = dash if dashed else (0.0, 0.0)
        return Line(u, paint_m, color, dash_m, period_m, wear, phase)

    lines = [line(i * lanes.width_m, dashed=rng.random() > 0.08) for i in range(1, lanes.own)]
    for j in range(1, lanes.opposite):
        lines.append(line(-lanes.median_m - j * lanes.width_m, dashed=True))
    if lanes.median_m:
        lines += [line(0.25, yellow), line(-lanes.median_m - 0.25, yellow)]
    elif lanes.opposite:
        kind = rng.random()
        if kind < 0.6:
            gap = rng.uniform(0.12, 0.2)
            lines += [line(-gap, yellow), line(gap, yellow, dashed=rng.random() < 0.15)]
        elif kind < 0.85:
            lines.append(line(0.0, yellow, dashed=rng.random() < 0.3))
        elif kind < 0.93:
            lines.append(line(0.0, white, dashed=True))
    # Where asphalt continues beyond the lane, a line marks its edge; a kerb or grass needs none.
    for side, u in ((right, lanes.right_m), (left, lanes.left_m)):
        if side.paved or rng.random() < 0.4:
            one_way = u == 0 and rng.random() < 0.7
            lines.append(line(u, yellow if one_way else white))
    return lines


def sample_paint(
    rng: np.random.Generator, place: str, lanes: Lanes
) -> tuple[tuple[Crossing, ...], tuple[Arrow, ...]]:
    """Crossings and lane arrows."""
    crossings, arrows = [], []
    if place in ("city", "suburb") and rng.random() < 0.3:
        z, depth = rng.uniform(6, 40), rng.uniform(2.5, 4.0)
        crossings.append(Crossing(z, depth, pick(rng, ("bars", "bars", "lines"))))
    if rng.random() < 0.25:
        z = rng.uniform(5, 25)
        for i in range(lanes.own):
            if rng.random() < 0.7:
                arrows.append(Arrow((i + 0.5) * lanes.width_m, z, int(rng.integers(-1, 2))))
    return tuple(crossings), tuple(arrows)
