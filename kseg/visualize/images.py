"""Reading and writing image files."""

import os
from pathlib import Path

import cv2
import numpy as np

from kseg import image_file
from kseg.errors import InputError


def read_image(path: Path) -> np.ndarray:
    """Returns (H, W, 3) uint8 RGB, as people see it. Raises InputError with the reason."""
    try:
        return image_file.decode(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except image_file.ImageFileError as error:
        raise InputError(f"{path}: {error}") from error


def write_image(path: str | os.PathLike[str], image: np.ndarray) -> None:
    """Writes (H, W, 3) uint8 RGB or (H, W) uint8. Raises InputError when that fails."""
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    if not cv2.imwrite(str(path), image):
        raise InputError(f"{path}: image cannot be written; choose another --out")
