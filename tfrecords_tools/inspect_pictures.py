"""The pictures of the inspect page: heat maps, overlays that do without colour, data URIs."""

import base64

import cv2
import numpy as np

from kseg.labels import IGNORE_ID
from kseg.overlay import overlay

WIDTH = 480  # Pixels of an overlay.
_PERIOD = 10

# What tells classes apart without colour: (name, true where a line is drawn).
PATTERNS = (
    ("stripes rising to the right", lambda y, x: (x + y) % _PERIOD < 2),
    ("stripes falling to the right", lambda y, x: (x - y) % _PERIOD < 2),
    ("level stripes", lambda y, x: y % _PERIOD < 2),
    ("upright stripes", lambda y, x: x % _PERIOD < 2),
    ("dots", lambda y, x: (x % _PERIOD < 4) & (y % _PERIOD < 4)),
    ("grid", lambda y, x: (x % _PERIOD < 2) | (y % _PERIOD < 2)),
    ("dense stripes rising", lambda y, x: (x + y) % 5 < 2),
    ("dense stripes falling", lambda y, x: (x - y) % 5 < 2),
    ("dense level stripes", lambda y, x: y % 5 < 2),
    ("dense upright stripes", lambda y, x: x % 5 < 2),
    ("diamonds", lambda y, x: ((x + y) % _PERIOD < 2) | ((x - y) % _PERIOD < 2)),
)


def pattern_name(labels, class_id):
    """What a class looks like in overlays, in words."""
    if not any(labels.palette[class_id]):
        return "left as it is"
    return PATTERNS[class_id % len(PATTERNS)][0]


def patterned(image, mask, labels):
    """(H, W, 3) uint8 RGB and (H, W) uint8 ids -> overlay with a pattern for each class.

    At most WIDTH wide. Black classes leave the image as it is; ignored pixels are darkened.
    """
    width = min(WIDTH, image.shape[1])
    size = (width, round(image.shape[0] * width / image.shape[1]))
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    # Nearest: anything else would invent class ids along borders.
    mask = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
    picture = overlay(image, mask, labels)
    rows, columns = np.indices(mask.shape)
    for class_id, color in enumerate(labels.palette):
        if any(color):
            lines = PATTERNS[class_id % len(PATTERNS)][1](rows, columns)
            picture[(mask == class_id) & lines] = color
    picture[mask == IGNORE_ID] //= 3
    return picture


def swatch(labels, class_id):
    """(30, 50, 3) uint8 RGB: a piece of grey road under the class's colour and pattern."""
    ids = np.full((30, 50), class_id, np.uint8)
    return patterned(np.full((30, 50, 3), 110, np.uint8), ids, labels)


def heat_picture(heat, top):
    """(h, w) float 0..top -> (4h, 4w, 3) uint8 RGB, cividis: as good as the same to everyone's eye.

    A white line is drawn where heat is half of `top`.
    """
    size = (heat.shape[1] * 4, heat.shape[0] * 4)
    large = cv2.resize(heat.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    large /= top or 1
    gray = np.clip(large * 255, 0, 255).astype(np.uint8)
    picture = cv2.applyColorMap(gray, cv2.COLORMAP_CIVIDIS)[..., ::-1].copy()
    half = (large >= 0.5).astype(np.uint8)
    picture[half > cv2.erode(half, np.ones((3, 3), np.uint8))] = 255
    return picture


def heat_scale():
    """(12, 200, 3) uint8 RGB: the colours of heat_picture from 0 to top."""
    ramp = np.linspace(0, 255, 200).astype(np.uint8)[None].repeat(12, axis=0)
    return cv2.applyColorMap(ramp, cv2.COLORMAP_CIVIDIS)[..., ::-1]


def data_uri(image, kind="png"):
    """(H, W, 3) uint8 RGB -> data URI of a PNG or JPEG ("jpeg") file."""
    flags = [cv2.IMWRITE_JPEG_QUALITY, 85] if kind == "jpeg" else []
    data = cv2.imencode(f".{kind}", np.ascontiguousarray(image[..., ::-1]), flags)[1]
    return f"data:image/{kind};base64,{base64.b64encode(data.tobytes()).decode()}"
