"""The image that a scene is drawn into, with the pixels that obstacles cover, and its lamps."""

from collections.abc import Sequence

import cv2
import numpy as np

from kseg.preprocess import Size
from tfrecords_tools.demo.colors import Color
from tfrecords_tools.demo.scene import Scene

SUBPIXEL_BITS = 4


class Canvas:
    """The image of a scene, drawn from far to near. Outlines are pixels (n, 2), colours RGB."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.camera = scene.camera
        self.light = scene.light
        self.rng = np.random.default_rng(scene.seed)
        self.image = np.zeros((*scene.camera.size, 3), np.uint8)  # RGB
        self.obstacles = np.zeros(scene.camera.size, np.uint8)  # 255: covered.
        # (x, y, radius, colour) of lamps that are on; pixels.
        self.lamps: list[tuple[float, float, float, Color | np.ndarray]] = []

    def fill(self, outline: np.ndarray, color: Color | np.ndarray) -> None:
        fill(self.image, outline, color)

    def fill_obstacle(self, outline: np.ndarray, color: Color | np.ndarray) -> None:
        """Fills an obstacle's outline, antialiased, and marks its pixels as covered."""
        fill(self.image, outline, color)
        self.mark_obstacle(outline)

    def mark_obstacle(self, outline: np.ndarray) -> None:
        """Marks the outline's pixels as covered, without painting them."""
        fill(self.obstacles, outline, 255, smooth=False)

    def add_lamp(
        self, point: Sequence[float], z: float, radius_m: float, color: Color | np.ndarray
    ) -> None:
        """Adds a lamp that is on, at a point (x, y) of the image, z metres away."""
        x, y = point
        self.lamps.append((x, y, radius_m * self.camera.focal_px / z, color))

    def hide_lamps(self, outline: np.ndarray) -> None:
        """Removes the lamps behind an outline that is about to be painted over them."""
        outline = outline.astype(np.float32)
        self.lamps = [p for p in self.lamps if cv2.pointPolygonTest(outline, p[:2], False) < 0]

    def apparent_color(self, color: Color, z: float) -> np.ndarray:
        """The colour as seen at distance z, in ambient light, headlights at night, and haze."""
        light = self.light
        brightness = light.ambient
        if light.kind == "night":
            brightness += 0.55 * np.exp(-z / 22)
        clear = np.exp(-light.fog_1_m * z)
        return np.asarray(color) * brightness * clear + np.asarray(light.fog_color) * (1 - clear)


def fill(
    image: np.ndarray,
    outline: np.ndarray,
    color: Color | np.ndarray | float,
    *,
    smooth: bool = True,
) -> None:
    """Fills an outline (n, 2) in a uint8 image, antialiased when smooth."""
    levels = [float(np.clip(c, 0, 255)) for c in np.atleast_1d(color)]
    line_type = cv2.LINE_AA if smooth else cv2.LINE_8
    cv2.fillPoly(image, [fixed_point(outline)], levels, line_type, SUBPIXEL_BITS)


def fixed_point(points: np.ndarray) -> np.ndarray:
    """Pixel coordinates as OpenCV's fixed-point integers with SUBPIXEL_BITS fractional bits."""
    return np.round(points * (1 << SUBPIXEL_BITS)).astype(np.int32)


def soft_noise(rng: np.random.Generator, size: Size, cells: int) -> np.ndarray:
    """Smooth noise of about -1..1, float32 of shape size (h, w), with cells x cells blobs."""
    small = rng.uniform(-1, 1, (cells, cells)).astype(np.float32)
    return cv2.resize(small, size[::-1], interpolation=cv2.INTER_CUBIC)
