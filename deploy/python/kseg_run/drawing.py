"""Class colours over a frame, the legend, and lines of text."""

import cv2
import numpy as np


def draw(frame, class_map, contract):
    """Blends the class colours over an RGB frame and adds a legend. Black classes stay clear."""
    classes = contract["labels"]["classes"]
    colors, shown = np.zeros((256, 1, 3), np.uint8), np.zeros(256, np.uint8)
    for c in classes:
        colors[c["id"]], shown[c["id"]] = c["color"], 255 * any(c["color"])
    blended = cv2.addWeighted(frame, 0.5, cv2.applyColorMap(class_map, colors), 0.5, 0)
    picture = cv2.copyTo(blended, cv2.LUT(class_map, shown), frame.copy())
    scale = max(0.35, len(frame) / 700)
    line, thick = int(32 * scale), max(1, round(1.5 * scale))
    for row, c in enumerate(classes):
        top = line // 3 + row * line
        corner = (line // 3 + line, top + line * 3 // 4)
        cv2.rectangle(picture, (line // 3, top), corner, c["color"], -1)
        cv2.rectangle(picture, (line // 3, top), corner, (255, 255, 255), 1)
        write(picture, c["name"], (line * 5 // 3, top + line * 5 // 8), scale, thick)
    return picture


def write(picture, text, origin, scale, thick):
    """White text on a black rim, readable on any road. origin (x, y): its lower left corner."""
    font, (x, y) = cv2.FONT_HERSHEY_SIMPLEX, origin
    # Not one thicker text below: in OpenCV 5 thicker letters are also wider.
    for dx, dy in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
        cv2.putText(picture, text, (x + dx, y + dy), font, scale, (0, 0, 0), thick, cv2.LINE_AA)
    cv2.putText(picture, text, origin, font, scale, (255, 255, 255), thick, cv2.LINE_AA)


def write_status(picture, text):
    """A line at the lower left."""
    scale = max(0.35, len(picture) / 1000)
    origin = (int(12 * scale), len(picture) - int(12 * scale))
    write(picture, text, origin, scale, max(1, round(1.5 * scale)))
