"""Draws the sky with clouds, and the skyline."""

import cv2
import numpy as np

from tfrecords_tools.demo.canvas import Canvas, soft_noise

CLOUDS = (32, 64)  # Rows and columns of the small image in which sky and clouds are mixed.
ZENITH = {
    "sun": (92, 142, 206),
    "overcast": (170, 176, 184),
    "dusk": (88, 92, 132),
    "night": (10, 12, 22),
}
CLOUD_LEVELS = {"sun": 46, "overcast": 20, "dusk": 30, "night": 4}


def draw_sky(canvas: Canvas) -> None:
    """Fills the entire image; the ground is drawn over its lower part later."""
    height, width = canvas.camera.size
    light, rng = canvas.light, canvas.rng
    horizon = np.array(light.fog_color) * (1.4 if light.kind == "dusk" else 1.05)
    t = np.clip(np.arange(height) / max(canvas.camera.horizon_px, 1), 0, 1)[:, None] ** 1.3
    rows = np.array(ZENITH[light.kind]) * (1 - t) + horizon * t
    clouds = soft_noise(rng, CLOUDS, 5) + 0.5 * soft_noise(rng, CLOUDS, 12)
    clouds = np.clip(clouds, -0.2, 1) * CLOUD_LEVELS[light.kind]
    sky = rows[:: max(height // 90, 1)]
    sky = cv2.resize(sky[:, None].astype(np.float32), CLOUDS[::-1]).reshape(*CLOUDS, 3)
    sky = np.clip(sky + clouds[..., None], 0, 255).astype(np.uint8)
    canvas.image = cv2.resize(sky, (width, height), interpolation=cv2.INTER_LINEAR)
    _draw_skyline(canvas)


def _draw_skyline(canvas):
    """Hills, woods or distant houses on the horizon."""
    camera, rng, width = canvas.camera, canvas.rng, canvas.camera.size[1]
    city = canvas.scene.place == "city"
    count = 24
    rise = rng.uniform(0.2, 1.0, count) * rng.uniform(8, 60) * camera.focal_px / 900
    x = np.linspace(-width * 0.02, width * 1.02, count)
    if city:  # Steps instead of slopes.
        x, rise = np.repeat(x, 2)[1:], np.repeat(rise, 2)[:-1]
    y = camera.horizon_y(x)
    ends = np.array([[x[-1], y[-1] + 9], [x[0], y[0] + 9]])
    outline = np.concatenate([np.stack([x, y - rise], -1), ends])
    color = (96, 98, 104) if city else (74, 92, 72)
    canvas.fill(outline, canvas.apparent_color(color, min(160.0, 1.0 / canvas.light.fog_1_m)))
