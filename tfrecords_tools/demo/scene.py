"""The objects of a scene. Metres in road coordinates (see geometry.py), colours RGB."""

from dataclasses import dataclass

from tfrecords_tools.demo.colors import Color
from tfrecords_tools.demo.geometry import Camera


@dataclass(frozen=True)
class Lanes:
    """The lanes of both directions. Lane i of the ego direction spans [i, i + 1] * width_m."""

    width_m: float
    own: int
    opposite: int
    median_m: float

    @property
    def left_m(self) -> float:
        return -(self.median_m + self.opposite * self.width_m)

    @property
    def right_m(self) -> float:
        return self.own * self.width_m


@dataclass(frozen=True)
class Strip:
    """A lengthwise band of ground."""

    left_m: float
    right_m: float
    color: Color


@dataclass(frozen=True)
class Line:
    """A lengthwise marking; period 0 means solid. strength 1 is fresh paint, 0 invisible."""

    u_m: float
    width_m: float
    color: Color
    dash_m: float
    period_m: float
    strength: float
    phase_m: float


@dataclass(frozen=True)
class Barrier:
    """A crash barrier along the road."""

    u_m: float
    height_m: float


@dataclass(frozen=True)
class Road:
    """The cross-section, from the outer edge on the left to that on the right."""

    lanes: Lanes
    ego_lane: int
    left_m: float
    right_m: float
    asphalt: Color
    strips: tuple[Strip, ...]
    lines: tuple[Line, ...]
    parking_u_m: tuple[float, ...]
    barriers: tuple[Barrier, ...]


@dataclass(frozen=True)
class Crossing:
    """A pedestrian crossing."""

    z_m: float
    depth_m: float
    kind: str  # bars, lines


@dataclass(frozen=True)
class Arrow:
    """A lane arrow."""

    u_m: float
    z_m: float
    turn: int  # -1 left, 0 straight on, 1 right


@dataclass(frozen=True)
class Light:
    """Light and lens of a frame. Fog is per metre, blur in pixels at 720p, noise in levels."""

    kind: str  # sun, overcast, dusk, night
    ambient: float
    shadow: float
    shadow_shift: tuple[float, float]  # metres of (u, z) per metre of height
    fog_1_m: float
    fog_color: Color
    wet: float
    glare: tuple[float, float, float] | None  # x, y (fractions of the image), strength
    gains: tuple[float, float, float]
    contrast: float
    blur_px: float
    noise: float

    @property
    def lamps_on(self) -> bool:
        return self.kind in ("night", "dusk")


@dataclass(frozen=True)
class Car:
    """A vehicle: centre u, near end z, size and appearance."""

    u_m: float
    z_m: float
    length_m: float
    width_m: float
    height_m: float
    color: Color
    style: str  # car, van, truck
    oncoming: bool
    braking: bool

    @property
    def left_m(self) -> float:
        return self.u_m - self.width_m / 2

    @property
    def right_m(self) -> float:
        return self.u_m + self.width_m / 2

    @property
    def end_m(self) -> float:
        return self.z_m + self.length_m

    @property
    def floor_m(self) -> float:
        """Height of the body's lower edge."""
        return 0.2 if self.style == "car" else 0.3

    @property
    def belt_m(self) -> float:
        """Height of the windows' lower edge."""
        return (0.55 if self.style == "car" else 0.5) * self.height_m


@dataclass(frozen=True)
class House:
    """A block whose street side is at u; it extends away from the road."""

    u_m: float
    side: int  # 1 right of the road, -1 left
    start_m: float
    end_m: float
    height_m: float
    color: Color

    @property
    def z_m(self) -> float:
        return (self.start_m + self.end_m) / 2


@dataclass(frozen=True)
class Tree:
    """A tree."""

    u_m: float
    z_m: float
    trunk_m: float
    radius_m: float  # of the crown
    color: Color


@dataclass(frozen=True)
class Pole:
    """A lamp post."""

    u_m: float
    z_m: float
    height_m: float
    toward: int  # -1 or 1: the side on which its arm extends over the road


@dataclass(frozen=True)
class Person:
    """A pedestrian."""

    u_m: float
    z_m: float
    height_m: float
    coat: Color
    trousers: Color


@dataclass(frozen=True)
class Sign:
    """A road sign or a traffic signal."""

    u_m: float
    z_m: float
    kind: str  # sign, signal


@dataclass(frozen=True)
class Bonnet:
    """The ego car's bonnet, along the image's lower edge."""

    share: float  # of the image's height
    tilt: float
    color: Color


@dataclass(frozen=True)
class Scene:
    """All parameters of a frame. `seed` is for textures only."""

    camera: Camera
    road: Road
    light: Light
    place: str  # city, suburb, highway, country
    ground: Color
    crossings: tuple[Crossing, ...]
    arrows: tuple[Arrow, ...]
    cars: tuple[Car, ...]
    houses: tuple[House, ...]
    trees: tuple[Tree, ...]
    poles: tuple[Pole, ...]
    people: tuple[Person, ...]
    signs: tuple[Sign, ...]
    bonnet: Bonnet | None
    seed: int
