"""The last layers, over everything drawn: wet ground, our own bonnet, halos, the camera itself."""

import cv2
import numpy as np


def draw_reflections(drawing):
    """Wet ground mirrors what stands above the horizon, smeared downwards."""
    canvas, road = drawing.canvas, drawing.scene.road
    height, width = canvas.shape[:2]
    top = int(np.clip(drawing.camera.horizon_px, 1, height - 2))
    rows = min(top, height - top)
    mirror = cv2.resize(canvas[top - rows : top][::-1], (width // 4, rows // 4 + 1))
    mirror = cv2.blur(mirror, (3, max(rows // 30, 1)))
    mirror = cv2.resize(mirror, (width, rows))
    region = canvas[top : top + rows]
    weight = drawing.light.wet * np.linspace(1.0, 0.25, rows, dtype=np.float32)[:, None, None]
    mixed = region * (1 - weight) * 0.95 + mirror * weight
    u, _ = drawing.camera.unproject(top, 1)
    paved = (u > road.left_m) & (u < road.right_m)
    wet = (paved[:rows] & (drawing.solid[top : top + rows] == 0))[..., None]
    np.copyto(region, np.clip(mixed, 0, 255).astype(np.uint8), where=wet)


def draw_bonnet(drawing):
    """Our own bonnet along the lower edge, darker towards us."""
    bonnet = drawing.scene.bonnet
    height, width = drawing.camera.size
    t = np.linspace(-1, 1, 40)
    x = width * (0.5 + 0.52 * t)
    y = height * (1 - bonnet.share * (1 - 0.5 * t**2 + bonnet.tilt * 0.3 * t))
    color = drawing.seen(bonnet.color, 0.0)

    def below(y):
        corners = [[width + 9, height + 9], [-9, height + 9]]
        return np.concatenate([np.stack([x, y], -1), corners])

    drawing.stand(below(y), color * 0.9)
    drawing.fill(below(y + 0.3 * height * bonnet.share), color * 0.75)


def add_glow(drawing):
    """Halos of lamps and the sun's glare."""
    glare = drawing.light.glare
    height, width = drawing.camera.size
    if not drawing.lamps and not glare:
        return
    step = max(height // 90, 1)
    layer = np.zeros((height // step, width // step, 3), np.float32)
    for x, y, radius, color in drawing.lamps:
        spot = (int(x / step), int(y / step))
        size = int(np.clip(radius / step, 1, height / step / 14))
        if abs(spot[0]) < 4 * width and abs(spot[1]) < 4 * height:
            cv2.circle(layer, spot, size, [float(c) * 0.8 for c in color], -1)
    layer = cv2.GaussianBlur(layer, (0, 0), layer.shape[0] / 45) + 0.4 * layer
    if glare:
        layer += _glare(layer.shape[:2], *glare)
    spread = cv2.resize(layer, (width, height))
    drawing.canvas = cv2.add(drawing.canvas, spread, dtype=cv2.CV_8U)


def _glare(size, x, y, strength):
    """A bright spot with a wide halo at (x, y), fractions of the size (h, w): float32 (h, w, 3)."""
    rows, columns = np.mgrid[: size[0], : size[1]].astype(np.float32)
    far = np.hypot(columns - x * size[1], rows - y * size[0]) / size[0]
    halo = strength * (170 * np.exp(-((far / 0.12) ** 2)) + 90 * np.exp(-far / 0.35))
    return halo[..., None] * np.array([1.0, 0.95, 0.82], np.float32)


def develop(drawing):
    """The camera's part: blur, exposure, white balance, contrast, noise. Returns uint8 RGB."""
    canvas, light = drawing.canvas, drawing.light
    height, width = drawing.camera.size
    sigma = light.blur_px * height / 720
    if sigma > 0.25:
        canvas = cv2.GaussianBlur(canvas, (0, 0), sigma)
    level = np.arange(256)[:, None] * np.array(light.gains)
    level = (level - 118) * light.contrast + 118
    table = np.clip(level, 0, 255).astype(np.uint8)
    canvas = cv2.LUT(canvas, table.reshape(1, 256, 3))
    tile = drawing.rng.standard_normal((251, 509), np.float32) * light.noise
    grain = np.tile(tile, (-(-height // 251), -(-width // 509)))[:height, :width]
    return cv2.add(canvas, cv2.merge([grain] * 3), dtype=cv2.CV_8U)
