"""Training-time variety: (image, mask, rng) -> (image, mask), the same for the same rng.

NumPy and OpenCV on uint8: what the training pipeline adds to decoding is then a tenth of it, where
TensorFlow's ops on single float32 frames cost more than decoding.
"""

import cv2
import numpy as np

from kseg import preprocess
from kseg.labels import IGNORE_ID


def augment(image, mask, rng, *, flip, scale, color_jitter):
    """Augments one example.

    image (H, W, 3) uint8; mask (H, W) uint8 ids; rng numpy.random.Generator, of which seven
    numbers are drawn whatever is asked for; flip bool: mirrors half of the examples; scale (min,
    max) of the random zoom, after which a window of the old size is cut at random (or, zoomed out,
    the picture is placed at random, what lies outside is ignored); color_jitter 0..1. Returns image
    and mask, shapes and dtypes unchanged; the arrays given stay as they are.
    """
    draws = rng.random(7)
    if tuple(scale) != (1.0, 1.0):
        zoom = scale[0] + (scale[1] - scale[0]) * draws[0]
        image, mask = _zoomed(image, mask, zoom, draws[1:3])
    if flip and draws[3] < 0.5:
        image, mask = cv2.flip(image, 1), cv2.flip(mask, 1)
    if color_jitter:
        image = _recolored(image, draws[4:], color_jitter)
    return image, mask


def _zoomed(image, mask, zoom, place):
    """Cuts or pads by whole pixels and resizes both from centre to centre: they cannot part.

    Bilinear up and down: at these zooms, averaging areas is five times slower and hardly smoother.
    place: two numbers 0..1, where the window lies in the picture, or the picture in the window.
    """
    size = mask.shape
    if zoom >= 1:
        window = [max(1, round(side / zoom)) for side in size]
        top, left = _corner(size, window, place)
        seen = np.s_[top : top + window[0], left : left + window[1]]
        return _bilinear(image[seen], size), preprocess.resize_mask(mask[seen], size)
    small = [max(1, round(side * zoom)) for side in size]
    top, left = _corner(size, small, place)
    place = np.s_[top : top + small[0], left : left + small[1]]
    around, ids = np.zeros_like(image), np.full_like(mask, IGNORE_ID)
    around[place] = _bilinear(image, small)
    ids[place] = preprocess.resize_mask(mask, small)
    return around, ids


def _bilinear(image, size):
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)


def _corner(outer, inner, place):
    """Top and left of a rectangle inside another, each position equally likely."""
    return [int((o - i + 1) * p) for o, i, p in zip(outer, inner, place, strict=True)]


def _recolored(image, draws, amount):
    """Random saturation, contrast and brightness, each by up to `amount`, as one matrix.

    Saturation s draws a pixel away from its grey (the mean of its channels), contrast c from the
    picture's mean m, brightness b scales that mean: m b + c (grey + s (pixel - grey) - m).
    """
    saturation, contrast, brightness = 1 + amount * (2 * draws - 1)
    matrix = np.full((3, 4), contrast * (1 - saturation) / 3)
    matrix[:, :3] += contrast * saturation * np.eye(3)
    matrix[:, 3] = np.mean(cv2.mean(image)[:3]) * (brightness - contrast)
    return cv2.transform(image, matrix)  # Rounds, and cuts at 0 and 255.
