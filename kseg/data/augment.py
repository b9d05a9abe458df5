"""Augmentation of training examples: flip, random zoom and crop, color jitter.

NumPy and OpenCV on uint8: this adds a tenth to the time of decoding, where TensorFlow's ops on
single float32 frames cost more than decoding itself.
"""

import cv2
import numpy as np

from kseg import preprocess
from kseg.labels import IGNORE_ID


def augment(
    image: np.ndarray,
    mask: np.ndarray,
    rng: np.random.Generator,
    *,
    flip: bool,
    scale: tuple[float, float],
    color_jitter: float,
    out: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Augments one example; the same rng state gives the same result.

    image (H, W, 3) uint8; mask (H, W) uint8 ids. rng: seven numbers are drawn, whatever the
    options. flip: mirror half of the examples. scale: (minimum, maximum) of the random zoom. Zoomed
    in, a window of the original size is cut at random; zoomed out, the image is placed at random
    and the pixels around it are ignored. color_jitter: 0..1. out: (image, mask) to write into; by
    default, new arrays. Returns image and mask with shapes and dtypes unchanged. The input arrays
    are not modified.
    """
    draws = rng.random(7)
    # All steps write into the same arrays: allocating memory would cost more than the steps.
    image_out, mask_out = out or (np.empty_like(image), np.empty_like(mask))
    zoom = scale[0] + (scale[1] - scale[0]) * draws[0]
    if zoom > 1:
        _zoom_in(image, mask, image_out, mask_out, zoom, draws[1:3])
    elif zoom < 1:
        _zoom_out(image, mask, image_out, mask_out, zoom, draws[1:3])
    else:
        image_out[:], mask_out[:] = image, mask
    if flip and draws[3] < 0.5:
        cv2.flip(image_out, 1, dst=image_out)
        cv2.flip(mask_out, 1, dst=mask_out)
    if color_jitter:
        _jitter_color(image_out, draws[4:], color_jitter)
    return image_out, mask_out


# Both zooms cut or pad by complete pixels and resize image and mask between the same centres, so
# they stay aligned. Bilinear in both directions: at these zooms, averaging areas is five times
# slower and hardly smoother. position: two numbers 0..1, where the smaller rectangle lies.


def _zoom_in(image, mask, image_out, mask_out, zoom, position):
    window = [max(1, round(side / zoom)) for side in mask.shape]
    crop = _random_rectangle(mask.shape, window, position)
    _resize_bilinear(image[crop], image_out)
    mask_out[:] = preprocess.resize_mask(mask[crop], mask.shape)


def _zoom_out(image, mask, image_out, mask_out, zoom, position):
    small = [max(1, round(side * zoom)) for side in mask.shape]
    place = _random_rectangle(mask.shape, small, position)
    image_out[:], mask_out[:] = 0, IGNORE_ID
    _resize_bilinear(image, image_out[place])
    mask_out[place] = preprocess.resize_mask(mask, small)


def _random_rectangle(outer, inner, position):
    """Index of a rectangle of size `inner` within `outer`; each place is equally likely."""
    top, left = (int((o - i + 1) * p) for o, i, p in zip(outer, inner, position, strict=True))
    return np.s_[top : top + inner[0], left : left + inner[1]]


def _resize_bilinear(image, out):
    cv2.resize(image, out.shape[1::-1], dst=out, interpolation=cv2.INTER_LINEAR)


def _jitter_color(image, draws, amount):
    """Changes saturation, contrast and brightness, each by up to `amount`, as one matrix.

    Saturation s scales the distance of a pixel from its grey (the mean of its channels), contrast c
    its distance from the mean m of the image, brightness b that mean:
    m b + c (grey + s (pixel - grey) - m).
    """
    saturation, contrast, brightness = 1 + amount * (2 * draws - 1)
    matrix = np.full((3, 4), contrast * (1 - saturation) / 3)
    matrix[:, :3] += contrast * saturation * np.eye(3)
    matrix[:, 3] = np.mean(cv2.mean(image)[:3]) * (brightness - contrast)
    cv2.transform(image, matrix, dst=image)  # Rounds, and clips to 0..255.
