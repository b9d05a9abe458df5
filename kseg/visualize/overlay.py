"""Class maps blended over images, with a legend."""

import cv2
import numpy as np

from kseg.labels import IGNORE_ID, LabelSet

OPACITY = 0.5


def colorize(class_map: np.ndarray, labels: LabelSet) -> np.ndarray:
    """(H, W) uint8 ids -> (H, W, 3) uint8 RGB; ignored pixels are grey."""
    table = np.full((256, 3), 64, np.uint8)
    table[: len(labels.classes)] = labels.palette
    return table[class_map]


def overlay(image: np.ndarray, class_map: np.ndarray, labels: LabelSet) -> np.ndarray:
    """Blends class colours over (H, W, 3) uint8 RGB.

    Black classes (background) and ignored pixels leave the image as it is.
    """
    is_drawn = np.zeros(256, bool)
    is_drawn[[i for i, color in enumerate(labels.palette) if any(color)]] = True
    blended = cv2.addWeighted(image, 1 - OPACITY, colorize(class_map, labels), OPACITY, 0)
    return np.where(is_drawn[class_map][..., None], blended, image)


def draw_legend(image: np.ndarray, labels: LabelSet) -> np.ndarray:
    """Draws the classes' names and colours into the top left corner, in place."""
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


def put_text(image: np.ndarray, text: str, origin: tuple[int, int], scale: float) -> None:
    """Writes white text with a black edge, baseline at origin (x, y), in place."""
    thick = max(1, round(scale * 1.5))
    font, (x, y) = cv2.FONT_HERSHEY_SIMPLEX, origin
    # Four shifted copies, because thicker letters are also wider in OpenCV 5.
    for dx, dy in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
        cv2.putText(image, text, (x + dx, y + dy), font, scale, (0, 0, 0), thick, cv2.LINE_AA)
    cv2.putText(image, text, origin, font, scale, (255, 255, 255), thick, cv2.LINE_AA)


def side_by_side(
    image: np.ndarray, truth: np.ndarray, predicted: np.ndarray, labels: LabelSet
) -> np.ndarray:
    """Image, ground truth and prediction as one (H, 3W, 3) uint8 RGB image.

    Ignored pixels of the ground truth are darkened.
    """
    truth_panel = overlay(image, truth, labels)
    truth_panel[truth == IGNORE_ID] //= 3
    panels = [image, truth_panel, overlay(image, predicted, labels)]
    return np.concatenate(panels, axis=1)
