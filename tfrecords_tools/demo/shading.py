"""Light on the ground: texture, headlights, street lamps, shadows and haze."""

import cv2
import numpy as np

from tfrecords_tools.demo.canvas import Canvas, fill, soft_noise
from tfrecords_tools.demo.geometry import circle


def shade_ground(canvas: Canvas, unmarked: np.ndarray, top: int) -> None:
    """Lights the image from row `top` down; `unmarked` is that region without road markings.

    The expensive maps (texture, lamps, haze) are computed at half size.
    """
    light, camera = canvas.light, canvas.camera
    region = canvas.image[top:]
    height, width = region.shape[:2]
    u, z = camera.unproject(top, 2)
    bright, wear = _texture(canvas, u, z)
    bright *= _lamp_light(canvas, u, z)
    clear = np.exp(-light.fog_1_m * z)
    full = [cv2.resize(m.astype(np.float32), (width, height)) for m in (bright, wear, clear)]
    bright, wear, clear = full
    bright *= 1 - _shadows(canvas)[top:].astype(np.float32) / 255
    lit = cv2.subtract(region, unmarked, dtype=cv2.CV_32F)
    lit *= wear[..., None]
    lit += unmarked
    lit *= (bright * clear)[..., None]
    lit += (1 - clear)[..., None] * np.array(light.fog_color, np.float32)
    # One pixel more, so that the ground's antialiased upper edge is lit too.
    below = np.arange(top, top + height)[:, None] > camera.horizon_y(np.arange(width)) - 1
    np.copyto(region, np.clip(lit, 0, 255).astype(np.uint8), where=below[..., None])


def _texture(canvas, u, z):
    """Brightness of the bare ground, and the share of paint left on it, at maps (u, z)."""
    rng, road = canvas.rng, canvas.scene.road
    noise = soft_noise(rng, (256, 256), 24) + 0.8 * soft_noise(rng, (256, 256), 80)
    noise += 0.8 * rng.standard_normal((256, 256), np.float32)

    def tiled(across, ahead):
        """The noise at these texels per metre, mirrored at its borders."""
        return cv2.remap(
            noise, u * across, z * ahead, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
        )

    grain = tiled(17, 9)  # About 6 cm across and 11 cm along the road per texel.
    calm = np.clip(12 / z, 0.15, 1)  # Far pixels cover many texels, which would alias.
    rough = np.where((u > road.left_m) & (u < road.right_m), 0.05, 0.16)
    bright = (1 + rough * calm * grain) * (1 + 0.06 * tiled(1.3, 0.5))
    wear = np.clip(1.0 - 0.35 * np.maximum(grain, 0), 0, 1)
    return bright, wear


def _lamp_light(canvas, u, z):
    """Brightness factor of the ground at maps (u, z): ambient, headlights, street lamps."""
    light = canvas.light
    if light.kind != "night":
        return light.ambient
    aside = u - canvas.camera.u_m
    cone = np.exp(-((aside / (1.6 + 0.16 * z)) ** 2)) * np.exp(-(((z - 9) / 20) ** 2))
    factor = light.ambient + canvas.rng.uniform(0.4, 0.8) * cone
    for pole in canvas.scene.poles:
        distance = ((u - pole.u_m - 2 * pole.toward) / 6) ** 2 + ((z - pole.z_m) / 7) ** 2
        factor = factor + 0.4 * np.exp(-distance)
    return factor


def _shadows(canvas):
    """Darkness uint8 (h, w): under cars always; of trees, houses and cars in the sun."""
    camera, light, scene = canvas.camera, canvas.light, canvas.scene
    sunny = light.kind == "sun"
    layer = np.zeros(camera.size, np.uint8)
    if sunny:
        for house in scene.houses:
            _house_shadow(layer, canvas, house)
        for tree in scene.trees:
            _tree_shadow(layer, canvas, tree)
        layer = cv2.blur(cv2.convertScaleAbs(layer, alpha=light.shadow), (5, 3))
    deep = 255 * max(light.shadow, 0.5)
    for car in scene.cars:
        z0, z1 = car.z_m - 0.15, car.end_m + 0.2
        fill(layer, camera.strip(car.left_m, car.right_m, z0, z1), deep)
        if sunny:
            reach = light.shadow_shift[0] * car.height_m * 0.8
            low, high = sorted((car.u_m + np.sign(reach) * car.width_m / 2, car.u_m + reach))
            fill(layer, camera.strip(low, high, z0 + 0.2, z1 - 0.2), deep)
    return layer


def _house_shadow(layer, canvas, house):
    shift_u, shift_z = canvas.light.shadow_shift
    if np.sign(shift_u) == house.side:  # The shadow falls away from the road.
        return
    half, u = house.height_m * 0.5, house.u_m
    far_u, far_z = u + shift_u * half, shift_z * half
    z0, z1 = house.start_m, house.end_m
    corners = [u, u, far_u, far_u], [z0, z1, z1 + far_z, z0 + far_z]
    fill(layer, canvas.camera.project(*corners), 255)


def _tree_shadow(layer, canvas, tree):
    """Blobs of leaves, and a trunk."""
    camera, (shift_u, shift_z) = canvas.camera, canvas.light.shadow_shift
    u, z, tall = tree.u_m, tree.z_m, tree.trunk_m
    cos, sin = circle(12)
    for _ in range(9):
        du, dz, up = canvas.rng.uniform(-0.8, 0.8, 3) * tree.radius_m
        size = tree.radius_m * canvas.rng.uniform(0.25, 0.5)
        blob_u, blob_z = u + du + shift_u * (tall + up), z + dz + shift_z * (tall + up)
        if blob_z > 2:
            fill(layer, camera.project(blob_u + size * cos, blob_z + size * sin), 255)
    top_u, top_z = shift_u * tall, z + shift_z * tall
    if min(z, top_z) > 1.5:
        across = [u - 0.12, u + 0.12, u + 0.12 + top_u, u - 0.12 + top_u]
        fill(layer, camera.project(across, [z, z, top_z, top_z]), 255)
