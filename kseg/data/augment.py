"""Training-time variety: (image, mask, rng) -> (image, mask), the same for the same rng.

NumPy and OpenCV on uint8: what the training pipeline adds to decoding is then a tenth of it, where
TensorFlow's ops on single float32 frames cost more than decoding.
"""

import cv2
import numpy as np

from kseg import preprocess
from kseg.labels import IGNORE_ID


def augment(image, mask, rng, *, flip, scale, color_jitter, out=None):
    """Augments one example.

    image (H, W, 3) uint8; mask (H, W) uint8 ids; rng numpy.random.Generator, of which seven
    numbers are drawn whatever is asked for; flip bool: mirrors half of the examples; scale (min,
    max) of the random zoom, after which a window of the old size is cut at random (or, zoomed out,
    the picture is placed at random, what lies outside is ignored); color_jitter 0..1; out: an
    (image, mask) to write into, by default new. Returns image and mask, shapes and dtypes
    unchanged; the arrays given stay as they are.
    """
    draws = rng.random(7)
    # Every step writes here: new memory costs more than the steps.
    to, ids = out or (np.empty_like(image), np.empty_like(mask))
    zoom = scale[0] + (scale[1] - scale[0]) * draws[0]
    if zoom != 1:
        _zoom(image, mask, to, ids, zoom, draws[1:3])
    else:
        to[:], ids[:] = image, mask
    if flip and draws[3] < 0.5:
        cv2.flip(to, 1, dst=to), cv2.flip(ids, 1, dst=ids)
    if color_jitter:
        _recolor(to, draws[4:], color_jitter)
    return to, ids


def _zoom(image, mask, to, ids, zoom, place):
    """Cuts or pads by whole pixels and resizes both from centre to centre: they cannot part.

    Bilinear up and down: at these zooms, averaging areas is five times slower and hardly smoother.
    place: two numbers 0..1, where the window lies in the picture, or the picture in the window.
    """
    size = mask.shape
    if zoom >= 1:
        window = [max(1, round(side / zoom)) for side in size]
        top, left = _corner(size, window, place)
        seen = np.s_[top : top + window[0], left : left + window[1]]
        _bilinear(image[seen], to)
        ids[:] = preprocess.resize_mask(mask[seen], size)
        return
    small = [max(1, round(side * zoom)) for side in size]
    top, left = _corner(size, small, place)
    place = np.s_[top : top + small[0], left : left + small[1]]
    to[:], ids[:] = 0, IGNORE_ID
    _bilinear(image, to[place])
    ids[place] = preprocess.resize_mask(mask, small)


def _bilinear(image, to):
    cv2.resize(image, to.shape[1::-1], dst=to, interpolation=cv2.INTER_LINEAR)


def _corner(outer, inner, place):
    """Top and left of a rectangle inside another, each position equally likely."""
    return [int((o - i + 1) * p) for o, i, p in zip(outer, inner, place, strict=True)]


def _recolor(image, draws, amount):
    """Random saturation, contrast and brightness, each by up to `amount`, as one matrix.

    Saturation s draws a pixel away from its grey (the mean of its channels), contrast c from the
    picture's mean m, brightness b scales that mean: m b + c (grey + s (pixel - grey) - m).
    """
    saturation, contrast, brightness = 1 + amount * (2 * draws - 1)
    matrix = np.full((3, 4), contrast * (1 - saturation) / 3)
    matrix[:, :3] += contrast * saturation * np.eye(3)
    matrix[:, 3] = np.mean(cv2.mean(image)[:3]) * (brightness - contrast)
    cv2.transform(image, matrix, dst=image)  # Rounds, and cuts at 0 and 255.
