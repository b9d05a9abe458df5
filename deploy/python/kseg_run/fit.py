"""How a frame of any size becomes the model's input, and how the class map goes back.

Follows kseg/preprocess.py and deploy/cpp/kseg/fit.cc to the bit.
"""

import functools

import cv2
import numpy as np

UNSEEN_ID = 255  # What `crop` cut away.


def placement(frame_size, input_size, fit):
    """Returns (height, width, top, left) of a frame scaled into the input; negative: cut off."""
    (frame_height, frame_width), (height, width) = frame_size, input_size
    if fit == "stretch":
        return height, width, 0, 0
    choose = {"letterbox": min, "crop": max}[fit]
    scale = choose(height / frame_height, width / frame_width)
    scaled_height = max(1, int(frame_height * scale + 0.5))
    scaled_width = max(1, int(frame_width * scale + 0.5))
    return (
        scaled_height,
        scaled_width,
        int((height - scaled_height) / 2),
        int((width - scaled_width) / 2),
    )


def fit_frame(frame, input_size, fit, pad_value):
    """(h, w, 3) uint8 -> (height, width, 3) uint8: area-averaged down, bilinear up."""
    height, width, top, left = placement(frame.shape[:2], input_size, fit)
    if frame.shape[:2] != (height, width):
        shrinks = height <= frame.shape[0] and width <= frame.shape[1]
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        frame = cv2.resize(frame, (width, height), interpolation=how)
    if (height, width) == tuple(input_size):
        return frame
    canvas = np.full((*input_size, 3), pad_value, np.uint8)
    rows, columns = min(height, input_size[0]), min(width, input_size[1])
    seen = frame[max(-top, 0) :, max(-left, 0) :][:rows, :columns]
    canvas[max(top, 0) :, max(left, 0) :][:rows, :columns] = seen
    return canvas


def unfit_class_map(class_map, frame_size, fit):
    """(height, width) uint8 ids of the input -> (h, w) uint8 ids of the frame, nearest."""
    height, width, top, left = placement(frame_size, class_map.shape, fit)
    scaled = class_map
    if (height, width) != class_map.shape:
        seen = class_map[max(top, 0) :, max(left, 0) :][:height, :width]
        scaled = np.full((height, width), UNSEEN_ID, np.uint8)
        scaled[max(-top, 0) :, max(-left, 0) :][: seen.shape[0], : seen.shape[1]] = seen
    rows, columns = _nearest(frame_size[0], height), _nearest(frame_size[1], width)
    # Whole rows are copied at once, so columns are rows of the transposed map.
    stretched = cv2.transpose(cv2.transpose(scaled).take(columns, axis=0))
    return stretched.take(rows, axis=0)


@functools.lru_cache(maxsize=16)
def _nearest(to, side):
    """Which of `side` pixels each of `to` pixels comes from.

    In integers: OpenCV's INTER_NEAREST_EXACT differs between its versions.
    """
    return (2 * np.arange(to) + 1) * side // (2 * to)
