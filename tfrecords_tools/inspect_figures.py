"""The heat maps of the inspect page."""

import cv2
import numpy as np


def heat_map(heat: np.ndarray, top: float) -> np.ndarray:
    """(h, w) float, 0..top -> (4h, 4w, 3) uint8 RGB in cividis, readable with colour blindness.

    A white line is drawn where heat is half of `top`.
    """
    size = (heat.shape[1] * 4, heat.shape[0] * 4)
    level = cv2.resize(heat.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    level /= top or 1
    gray = np.clip(level * 255, 0, 255).astype(np.uint8)
    drawn = cv2.applyColorMap(gray, cv2.COLORMAP_CIVIDIS)[..., ::-1].copy()
    half = (level >= 0.5).astype(np.uint8)
    drawn[half > cv2.erode(half, np.ones((3, 3), np.uint8))] = 255
    return drawn


def heat_scale() -> np.ndarray:
    """(12, 200, 3) uint8 RGB: the colours of heat_map from 0 to top."""
    ramp = np.linspace(0, 255, 200).astype(np.uint8)[None].repeat(12, axis=0)
    return cv2.applyColorMap(ramp, cv2.COLORMAP_CIVIDIS)[..., ::-1]
