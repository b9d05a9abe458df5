"""A picture in the making: filled outlines, and the record of what stands in it."""

import cv2
import numpy as np

SUBPIXEL_BITS = 4


class Drawing:
    """The picture of a scene, drawn far to near."""

    def __init__(self, scene):
        self.scene = scene
        self.camera = scene.camera
        self.light = scene.light
        self.rng = np.random.default_rng(scene.seed)
        self.canvas = np.zeros((*scene.camera.size, 3), np.uint8)  # RGB
        self.solid = np.zeros(scene.camera.size, np.uint8)  # 255 where something stands.
        self.lamps = []  # (x, y, radius, colour) of those that shine, pixels.

    def fill(self, outline, color):
        fill(self.canvas, outline, color)

    def stand(self, outline, color):
        """Fills an outline of something standing: in the picture smoothly, in solid crisply."""
        fill(self.canvas, outline, color)
        self.block(outline)

    def block(self, outline):
        """Takes an outline out of the road without painting it."""
        fill(self.solid, outline, 255, smooth=False)

    def shine(self, point, z, radius_m, color):
        """Lights a lamp at a point (x, y) of the picture, z metres away."""
        self.lamps.append((*point, radius_m * self.camera.focal_px / z, color))

    def hide_lamps(self, outline):
        """Drops the lamps behind an outline that is now painted over them."""
        outline = outline.astype(np.float32)
        self.lamps = [p for p in self.lamps if cv2.pointPolygonTest(outline, p[:2], False) < 0]

    def seen(self, color, z):
        """Colour as seen at distance z: ambient light, our headlights at night, haze."""
        light = self.light
        brightness = light.ambient
        if light.kind == "night":
            brightness += 0.55 * np.exp(-z / 22)
        clear = np.exp(-light.fog_1_m * z)
        return np.asarray(color) * brightness * clear + np.asarray(light.fog_color) * (1 - clear)


def fill(image, outline, color, smooth=True):
    """Fills an outline (n, 2) in a uint8 image, antialiased when smooth."""
    color = [float(np.clip(c, 0, 255)) for c in np.atleast_1d(color)]
    kind = cv2.LINE_AA if smooth else cv2.LINE_8
    cv2.fillPoly(image, [fixed_point(outline)], color, kind, SUBPIXEL_BITS)


def fixed_point(points):
    """Pixels as the integers that OpenCV takes with a shift of SUBPIXEL_BITS."""
    return np.round(points * (1 << SUBPIXEL_BITS)).astype(np.int32)


def soft_noise(rng, size, cells):
    """Smooth noise float32 of shape size (h, w) in about -1..1, cells blobs high and wide."""
    small = rng.uniform(-1, 1, (cells, cells)).astype(np.float32)
    return cv2.resize(small, size[::-1], interpolation=cv2.INTER_CUBIC)
