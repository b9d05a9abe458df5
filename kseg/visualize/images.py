"""Reading and writing image files."""

import os
from pathlib import Path

import cv2
import numpy as np

from kseg.errors import InputError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


def read_image(path: Path) -> np.ndarray:
    """Returns (H, W, 3) uint8 RGB. Raises InputError when the file is not an image."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise InputError(f"{path}: cannot be decoded as an image; remove or replace it")
    return image


def write_image(path: str | os.PathLike[str], image: np.ndarray) -> None:
    """Writes (H, W, 3) uint8 RGB or (H, W) uint8. Raises InputError when that fails."""
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    if not cv2.imwrite(str(path), image):
        raise InputError(f"{path}: image cannot be written; choose another --out")
