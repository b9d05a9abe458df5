"""Effects applied after all objects: reflections, the ego car's bonnet, glow, and the camera."""

import cv2
import numpy as np

from kseg.preprocess import Size
from tfrecords_tools.demo.canvas import Canvas
from tfrecords_tools.demo.scene import Bonnet


def draw_reflections(canvas: Canvas) -> None:
    """Wet ground reflects the image above the horizon, blurred downwards."""
    image, road = canvas.image, canvas.scene.road
    height, width = image.shape[:2]
    top = int(np.clip(canvas.camera.horizon_px, 1, height - 2))
    rows = min(top, height - top)
    mirror = cv2.resize(image[top - rows : top][::-1], (width // 4, rows // 4 + 1))
    mirror = cv2.blur(mirror, (3, max(rows // 30, 1)))
    mirror = cv2.resize(mirror, (width, rows))
    region = image[top : top + rows]
    weight = canvas.light.wet * np.linspace(1.0, 0.25, rows, dtype=np.float32)[:, None, None]
    mixed = region * (1 - weight) * 0.95 + mirror * weight
    u, _ = canvas.camera.unproject(top, 1)
    paved = (u > road.left_m) & (u < road.right_m)
    wet = (paved[:rows] & (canvas.obstacles[top : top + rows] == 0))[..., None]
    np.copyto(region, np.clip(mixed, 0, 255).astype(np.uint8), where=wet)


def draw_bonnet(canvas: Canvas, bonnet: Bonnet) -> None:
    """The ego car's bonnet along the lower edge, darker towards the camera."""
    height, width = canvas.camera.size
    t = np.linspace(-1, 1, 40)
    x = width * (0.5 + 0.52 * t)
    y = height * (1 - bonnet.share * (1 - 0.5 * t**2 + bonnet.tilt * 0.3 * t))
    color = canvas.apparent_color(bonnet.color, 0.0)

    def below(y):
        corners = [[width + 9, height + 9], [-9, height + 9]]
        return np.concatenate([np.stack([x, y], -1), corners])

    canvas.fill_obstacle(below(y), color * 0.9)
    canvas.fill(below(y + 0.3 * height * bonnet.share), color * 0.75)


def add_glow(canvas: Canvas) -> None:
    """Halos of lamps, and the sun's glare."""
    glare = canvas.light.glare
    height, width = canvas.camera.size
    if not canvas.lamps and not glare:
        return
    step = max(height // 90, 1)
    layer = np.zeros((height // step, width // step, 3), np.float32)
    for x, y, radius, color in canvas.lamps:
        spot = (int(x / step), int(y / step))
        size = int(np.clip(radius / step, 1, height / step / 14))
        if abs(spot[0]) < 4 * width and abs(spot[1]) < 4 * height:
            cv2.circle(layer, spot, size, [float(c) * 0.8 for c in color], -1)
    layer = cv2.GaussianBlur(layer, (0, 0), layer.shape[0] / 45) + 0.4 * layer
    if glare:
        layer += _glare(layer.shape[:2], *glare)
    spread = cv2.resize(layer, (width, height))
    canvas.image = cv2.add(canvas.image, spread, dtype=cv2.CV_8U)


def _glare(size: Size, x: float, y: float, strength: float) -> np.ndarray:
    """A bright spot with a wide halo at (x, y), fractions of the size (h, w): float32 (h, w, 3)."""
    rows, columns = np.mgrid[: size[0], : size[1]].astype(np.float32)
    far = np.hypot(columns - x * size[1], rows - y * size[0]) / size[0]
    halo = strength * (170 * np.exp(-((far / 0.12) ** 2)) + 90 * np.exp(-far / 0.35))
    return halo[..., None] * np.array([1.0, 0.95, 0.82], np.float32)


def apply_camera(canvas: Canvas) -> np.ndarray:
    """Blur, exposure, white balance, contrast and noise of the camera. Returns uint8 RGB."""
    image, light = canvas.image, canvas.light
    height, width = canvas.camera.size
    sigma = light.blur_px * height / 720
    if sigma > 0.25:
        image = cv2.GaussianBlur(image, (0, 0), sigma)
    level = np.arange(256)[:, None] * np.array(light.gains)
    level = (level - 118) * light.contrast + 118
    table = np.clip(level, 0, 255).astype(np.uint8)
    image = cv2.LUT(image, table.reshape(1, 256, 3))
    tile = canvas.rng.standard_normal((251, 509), np.float32) * light.noise
    grain = np.tile(tile, (-(-height // 251), -(-width // 509)))[:height, :width]
    return cv2.add(image, cv2.merge([grain] * 3), dtype=cv2.CV_8U)
