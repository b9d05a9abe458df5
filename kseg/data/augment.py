"""Augmentation of training examples: flip, random zoom and crop, color jitter, weather.

NumPy and OpenCV on uint8, where TensorFlow's ops on single float32 frames cost more than decoding
itself. Each frame is resized once, from the rectangle that stays visible into its place in the
result. Around that place are bars as at inference: black and ignored.
"""

from typing import NamedTuple

import cv2
import numpy as np

from kseg.data.weather import weather as add_weather
from kseg.labels import IGNORE_ID
from kseg.preprocess import PAD_VALUE

_DARK = 32  # JPEG's ringing leaves values up to about this in the bars of stored frames.
_UNIT = np.eye(3)


class _Span(NamedTuple):
    """Rows or columns start..stop of the frame, and where they lie in the result."""

    start: int
    stop: int
    to_start: int
    to_stop: int


def augment(
    image: np.ndarray,
    mask: np.ndarray,
    rng: np.random.Generator,
    *,
    flip: bool,
    scale: tuple[float, float],
    color_jitter: float,
    weather: float = 0.0,
    out: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Augments one example; the same rng state gives the same result.

    image (H, W, 3) uint8; mask (H, W) uint8 ids. rng: seven numbers are drawn, whatever the
    options, and then those of the weather. flip: mirror half of the examples. scale: (minimum,
    maximum) of the random zoom. Zoomed in, a window of the original size is cut at random; zoomed
    out, the image is placed at random and the pixels around it are ignored. color_jitter: 0..1.
    weather: share of the examples with an effect of kseg.data.weather. Colors change within the
    frame only: its letterbox bars, and the bars that zooming out adds, stay black. out: (image,
    mask) to write into; by default, new arrays. Returns image and mask with shapes and dtypes
    unchanged. The input arrays are not modified.
    """
    draws = rng.random(7)
    # All steps write into the same arrays: allocating memory would cost more than the steps.
    image_out, mask_out = out or (np.empty_like(image), np.empty_like(mask))
    zoom = scale[0] + (scale[1] - scale[0]) * draws[0]
    rows, columns = (
        _span(start, stop, length, zoom, position)
        for (start, stop), length, position in zip(
            _without_bars(image, mask), mask.shape, draws[1:3], strict=True
        )
    )
    if flip and draws[3] < 0.5:
        width = mask.shape[1]
        columns = columns._replace(
            to_start=width - columns.to_stop, to_stop=width - columns.to_start
        )
    source = np.s_[rows.start : rows.stop, columns.start : columns.stop]
    place = np.s_[rows.to_start : rows.to_stop, columns.to_start : columns.to_stop]
    visible = mask_out[place]
    if visible.shape != mask.shape:
        image_out[:], mask_out[:] = PAD_VALUE, IGNORE_ID
    if visible.size:
        _resize(image[source], image_out[place], cv2.INTER_LINEAR)
        # Samples at pixel centres, as the line above does; INTER_NEAREST does not.
        _resize(mask[source], visible, cv2.INTER_NEAREST_EXACT)
        if flip and draws[3] < 0.5:
            cv2.flip(image_out[place], 1, dst=image_out[place])
            cv2.flip(visible, 1, dst=visible)
        if color_jitter:
            _jitter_color(image_out[place], draws[4:], color_jitter)
        if weather:
            image_out[place] = add_weather(image_out[place], rng, weather)
    return image_out, mask_out


def _span(start, stop, length, zoom, position):
    """The _Span of the pixels start..stop of a side, zoomed; position 0..1: of the window or image.

    Windows and places are complete pixels, so that image and mask are resized between the same
    centres.
    """
    if zoom > 1:
        window = max(1, round(length / zoom))
        first = int((length - window + 1) * position)  # Each place is equally likely.
        start, stop = (min(max(edge, first), first + window) for edge in (start, stop))
        edges = ((edge - first) * length / window for edge in (start, stop))
    else:
        small = max(1, round(length * zoom))
        first = int((length - small + 1) * position)
        edges = (first + edge * small / length for edge in (start, stop))
    return _Span(start, stop, *(int(edge + 0.5) for edge in edges))


def _without_bars(image, mask):
    """((top, bottom), (left, right)) of a frame without its letterbox bars.

    Bars are rows or columns at the border that are dark and ignored.
    """
    height, width = mask.shape
    # Most frames have none. Reading the corners first is fastest, and every bar has one of these.
    corners = mask[0, 0], mask[-1, -1]
    edges = mask[0], mask[-1], mask[:, 0], mask[:, -1]
    if IGNORE_ID not in corners or not any(edge.min() == IGNORE_ID for edge in edges):
        return (0, height), (0, width)
    samples = image.reshape(height, -1)
    spans = []
    for axis in (1, 0):
        brightest = cv2.reduce(samples, axis, cv2.REDUCE_MAX).reshape(mask.shape[1 - axis], -1)
        ignored = cv2.reduce(mask, axis, cv2.REDUCE_MIN).ravel() == IGNORE_ID
        spans.append(_range_of(~ignored | (brightest.max(axis=1) > _DARK)))
    return spans


def _range_of(inside):
    """(first, last + 1) of the true values; all when there is none."""
    indices = np.flatnonzero(inside)
    return (int(indices[0]), int(indices[-1]) + 1) if len(indices) else (0, len(inside))


def _resize(array, out, interpolation):
    if array.shape == out.shape:
        out[:] = array
    else:
        # Bilinear also when the image shrinks: at these zooms, averaging areas is five times slower
        # and hardly smoother.
        cv2.resize(array, out.shape[1::-1], dst=out, interpolation=interpolation)


def _jitter_color(image, draws, amount):
    """Changes saturation, contrast and brightness, each by up to `amount`, as one matrix.

    Saturation s scales the distance of a pixel from its grey (the mean of its channels), contrast c
    its distance from the mean m of the image (of each fourth row), brightness b that mean:
    m b + c (grey + s (pixel - grey) - m).
    """
    saturation, contrast, brightness = 1 + amount * (2 * draws - 1)
    matrix = np.empty((3, 4), np.float32)
    matrix[:, :3] = contrast * (1 - saturation) / 3 + contrast * saturation * _UNIT
    matrix[:, 3] = sum(cv2.mean(image[::4])[:3]) / 3 * (brightness - contrast)
    cv2.transform(image, matrix, dst=image)  # Rounds, and clips to 0..255.
