"""The things a scene is made of. Metres in road coordinates (see geometry.py), colours RGB."""

from dataclasses import dataclass

from tfrecords_tools.demo.geometry import Camera


@dataclass(frozen=True)
class Lanes:
    """The lanes of both directions. Our lane i spans [i, i + 1] * width_m."""

    width_m: float
    own: int
    opposite: int
    median_m: float

    @property
    def left_m(self):
        return -(self.median_m + self.opposite * self.width_m)

    @property
    def right_m(self):
        return self.own * self.width_m


@dataclass(frozen=True)
class Strip:
    """A lengthwise band of ground."""

    left_m: float
    right_m: float
    color: tuple


@dataclass(frozen=True)
class Line:
    """A lengthwise marking; period 0 means solid. strength 1 is fresh paint, 0 invisible."""

    u_m: float
    width_m: float
    color: tuple
    dash_m: float
    period_m: float
    strength: float
    phase_m: float


@dataclass(frozen=True)
class Barrier:
    u_m: float
    height_m: float


@dataclass(frozen=True)
class Road:
    """The cross-section, from the outer edge on the left to that on the right."""

    lanes: Lanes
    ego_lane: int
    left_m: float
    right_m: float
    asphalt: tuple
    strips: tuple[Strip, ...]
    lines: tuple[Line, ...]
    parking_u_m: tuple[float, ...]
    barriers: tuple[Barrier, ...]


@dataclass(frozen=True)
class Crossing:
    z_m: float
    depth_m: float
    kind: str  # bars, lines


@dataclass(frozen=True)
class Arrow:
    u_m: float
    z_m: float
    turn: int  # -1 left, 0 straight on, 1 right


@dataclass(frozen=True)
class Light:
    """Light and lens of a frame. Densities per metre, blur and noise in 720p pixels and levels."""

    kind: str  # sun, overcast, dusk, night
    ambient: float
    shadow: float
    shadow_shift: tuple[float, float]  # metres of (u, z) per metre of height
    fog_1_m: float
    fog_color: tuple
    wet: float
    glare: tuple | None  # (x, y, strength), x and y as fractions of the picture
    gains: tuple[float, float, float]
    contrast: float
    blur_px: float
    noise: float

    @property
    def lamps_on(self):
        return self.kind in ("night", "dusk")


@dataclass(frozen=True)
class Car:
    """A box on wheels: centre u, near end z, and what we see of it."""

    u_m: float
    z_m: float
    length_m: float
    width_m: float
    height_m: float
    color: tuple
    style: str  # car, van, truck
    oncoming: bool
    braking: bool

    @property
    def left_m(self):
        return self.u_m - self.width_m / 2

    @property
    def right_m(self):
        return self.u_m + self.width_m / 2

    @property
    def end_m(self):
        return self.z_m + self.length_m

    @property
    def floor_m(self):
        """Height of the body's lower edge."""
        return 0.2 if self.style == "car" else 0.3

    @property
    def belt_m(self):
        """Height of the windows' lower edge."""
        return (0.55 if self.style == "car" else 0.5) * self.height_m


@dataclass(frozen=True)
class House:
    """A block whose street side is at u; it reaches away from the road."""

    u_m: float
    side: int  # 1 right of the road, -1 left
    start_m: float
    end_m: float
    height_m: float
    color: tuple

    @property
    def z_m(self):
        return (self.start_m + self.end_m) / 2


@dataclass(frozen=True)
class Tree:
    u_m: float
    z_m: float
    trunk_m: float
    radius_m: float  # of the crown
    color: tuple


@dataclass(frozen=True)
class Pole:
    """A lamp post."""

    u_m: float
    z_m: float
    height_m: float
    toward: int  # -1 or 1: where its arm reaches over the road


@dataclass(frozen=True)
class Person:
    u_m: float
    z_m: float
    height_m: float
    coat: tuple
    trousers: tuple


@dataclass(frozen=True)
class Sign:
    u_m: float
    z_m: float
    kind: str  # sign, signal


@dataclass(frozen=True)
class Bonnet:
    """Our own, along the picture's lower edge."""

    share: float  # of the picture's height
    tilt: float
    color: tuple


@dataclass(frozen=True)
class Scene:
    """Everything a frame shows. `seed` feeds textures only."""

    camera: Camera
    road: Road
    light: Light
    place: str  # city, suburb, highway, country
    ground: tuple  # colour
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
