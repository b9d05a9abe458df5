"""Draws class colours, the legend and text on a frame."""

import cv2
import numpy as np


def draw(frame: np.ndarray, class_map: np.ndarray, contract: dict) -> np.ndarray:
    """Returns a copy of an RGB frame with class colours blended in and a legend.

    Black classes (background) leave the frame as it is.
    """
    classes = contract["labels"]["classes"]
    colors, visible = np.zeros((256, 1, 3), np.uint8), np.zeros(256, np.uint8)
    for c in classes:
        colors[c["id"]], visible[c["id"]] = c["color"], 255 * any(c["color"])
    blended = cv2.addWeighted(frame, 0.5, cv2.applyColorMap(class_map, colors), 0.5, 0)
    image = cv2.copyTo(blended, cv2.LUT(class_map, visible), frame.copy())
    scale = max(0.35, len(frame) / 700)
    line, thickness = int(32 * scale), max(1, round(1.5 * scale))
    for row, c in enumerate(classes):
        top = line // 3 + row * line
        corner = (line // 3 + line, top + line * 3 // 4)
        cv2.rectangle(image, (line // 3, top), corner, c["color"], -1)
        cv2.rectangle(image, (line // 3, top), corner, (255, 255, 255), 1)
        put_text(image, c["name"], (line * 5 // 3, top + line * 5 // 8), scale, thickness)
    return image


def put_text(
    image: np.ndarray, text: str, origin: tuple[int, int], scale: float, thickness: int
) -> None:
    """Writes white text with a black edge, its lower left corner at origin (x, y), in place."""
    font, (x, y) = cv2.FONT_HERSHEY_SIMPLEX, origin
    # Four shifted copies instead of one thicker text: OpenCV 5 makes thicker letters wider too.
    for dx, dy in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
        cv2.putText(image, text, (x + dx, y + dy), font, scale, (0, 0, 0), thickness, cv2.LINE_AA)
    cv2.putText(image, text, origin, font, scale, (255, 255, 255), thickness, cv2.LINE_AA)


def put_status(image: np.ndarray, text: str) -> None:
    """Writes a line of text at the lower left, in place."""
    scale = max(0.35, len(image) / 1000)
    origin = (int(12 * scale), len(image) - int(12 * scale))
    put_text(image, text, origin, scale, max(1, round(1.5 * scale)))
