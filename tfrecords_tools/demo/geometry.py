"""The pinhole camera, which projects road coordinates to pixels.

The world is flat. A ground point has road coordinates (u, z): u metres to the right of the left
edge of the ego direction's lanes, z metres ahead of the camera. A curve only shifts u sideways with
z, so lanes, lines, cars and houses are all given in (u, z), and points above the ground have a
height `up`. Outlines are pixels (n, 2).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from kseg.preprocess import Size

FAR_M = 220.0
CLOSEST_M = 0.8  # Nearer points, of cars beside the camera, move here: still outside the image.


@dataclass(frozen=True)
class Camera:
    """Pinhole camera over a curved road; pixels, metres, radians."""

    size: Size  # height, width
    focal_px: float
    horizon_px: float
    height_m: float
    u_m: float
    yaw: float
    roll: float
    curvature_1_m: float
    twist_1_m2: float

    @property
    def nearest_m(self) -> float:
        """Distance of the ground at the image's lower edge."""
        return self.focal_px * self.height_m / (self.size[0] - self.horizon_px)

    def horizon_y(self, x: np.ndarray) -> np.ndarray:
        """Rows of the horizon at columns x."""
        return self.horizon_px + self.roll * (x - self.size[1] / 2)

    def project(self, u_m: ArrayLike, z_m: ArrayLike, up_m: ArrayLike = 0.0) -> np.ndarray:
        """Pixels (n, 2) of points (u, z, up); z is at least CLOSEST_M."""
        u, z, up = np.broadcast_arrays(*(np.asarray(v, np.float64) for v in (u_m, z_m, up_m)))
        z = np.maximum(z, CLOSEST_M)
        x = self.focal_px * self._sideways_m(u, z) / z
        y = self.horizon_px + self.focal_px * (self.height_m - up) / z + self.roll * x
        points = np.stack([x + self.size[1] / 2, y], axis=-1)
        return np.clip(points, -20000, 20000)

    def unproject(self, top_px: int, step: int) -> tuple[np.ndarray, np.ndarray]:
        """(u, z) of the ground at every step-th pixel from row top_px down, two float32 maps."""
        height, width = self.size
        x = np.arange(0, width, step, dtype=np.float32) - width / 2
        y = np.arange(top_px, height, step, dtype=np.float32)[:, None]
        below = np.maximum(y - self.horizon_px - self.roll * x, 0.5)
        z = np.minimum(self.focal_px * self.height_m / below, FAR_M).astype(np.float32)
        u = x / self.focal_px * z - self._sideways_m(self.u_m, z) + self.u_m
        return u.astype(np.float32), z

    def strip(self, left_m: float, right_m: float, z0: float, z1: float) -> np.ndarray:
        """Outline of the ground between u left_m and right_m, and between z0 and z1."""
        z0 = max(z0, CLOSEST_M)
        count = int(np.clip(40 * (1 / z0 - 1 / z1) * 3 + (z1 - z0) / 6, 2, 64))
        z = 1 / np.linspace(1 / z0, 1 / z1, count)
        return np.concatenate([self.project(left_m, z), self.project(right_m, z[::-1])])

    def wall(self, u: ArrayLike, z0: float, z1: float, low: float, high: float) -> np.ndarray:
        """Outline of an upright face along the road at u."""
        z = 1 / np.linspace(1 / max(z0, CLOSEST_M), 1 / max(z1, CLOSEST_M), 8)
        return np.concatenate([self.project(u, z, low), self.project(u, z[::-1], high)])

    def front(self, u0: float, u1: float, z: float, low: float, high: float) -> np.ndarray:
        """Outline of an upright face across the road at z."""
        return self.project([u0, u1, u1, u0], z, [low, low, high, high])

    def _sideways_m(self, u, z):
        """Metres to the right of the camera's axis at (u, z)."""
        bend = 0.5 * self.curvature_1_m * z**2 + self.twist_1_m2 * z**3 / 6
        return u - self.u_m + self.yaw * z + bend


def circle(count: int) -> tuple[np.ndarray, np.ndarray]:
    """(cos, sin) of `count` angles around a full circle."""
    angle = np.linspace(0, 2 * np.pi, count)
    return np.cos(angle), np.sin(angle)
