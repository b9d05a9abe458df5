"""Class maps as pictures: colours over the image, a legend, and panels side by side."""

import cv2
import numpy as np

from kseg.errors import InputError
from kseg.labels import IGNORE_ID

OPACITY = 0.5


def colorize(class_map, labels):
    """(H, W) uint8 ids -> (H, W, 3) uint8 RGB; ignored pixels are grey."""
    table = np.full((256, 3), 64, np.uint8)
    table[: len(labels.classes)] = labels.palette
    return table[class_map]


def overlay(image, class_map, labels):
    """Blends class colours over (H, W, 3) uint8 RGB.

    Black classes (background) and ignored pixels leave the image as it is.
    """
    shown = [i for i, color in enumerate(labels.palette) if any(color)]
    table = np.zeros(256, bool)
    table[shown] = True
    blended = cv2.addWeighted(image, 1 - OPACITY, colorize(class_map, labels), OPACITY, 0)
    return np.where(table[class_map][..., None], blended, image)


def draw_legend(image, labels):
    """Draws names and colours of the classes into the top left corner, in place."""
    scale = max(0.35, image.shape[0] / 700)
    line = int(32 * scale)
    for row, c in enumerate(labels.classes):
        top = int(10 * scale) + row * line
        cv2.rectangle(image, (line // 3, top), (line // 3 + line, top + line * 3 // 4), c.color, -1)
        cv2.rectangle(
            image, (line // 3, top), (line // 3 + line, top + line * 3 // 4), (255, 255, 255), 1
        )
        origin = (line * 5 // 3, top + line * 5 // 8)
        put_text(image, c.name, origin, scale)
    return image


def put_text(image, text, origin, scale):
    """Writes white text with a black edge, baseline at origin (x, y), in place."""
    thick = max(1, round(scale * 1.5))
    font, (x, y) = cv2.FONT_HERSHEY_SIMPLEX, origin
    # Not one thicker text below: in OpenCV 5 thicker letters are also wider.
    for dx, dy in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
        cv2.putText(image, text, (x + dx, y + dy), font, scale, (0, 0, 0), thick, cv2.LINE_AA)
    cv2.putText(image, text, origin, font, scale, (255, 255, 255), thick, cv2.LINE_AA)


def side_by_side(image, truth, predicted, labels):
    """Image, truth and prediction as one (H, 3W, 3) uint8 RGB picture; ignored truth is grey."""
    truth_panel = overlay(image, truth, labels)
    truth_panel[truth == IGNORE_ID] //= 3
    panels = [image, truth_panel, overlay(image, predicted, labels)]
    return np.concatenate(panels, axis=1)


def write(path, image):
    """Writes (H, W, 3) uint8 RGB, or (H, W) uint8, to a picture file. Raises InputError."""
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    if not cv2.imwrite(str(path), image):
        raise InputError(f"{path}: picture cannot be written; choose another --out")
