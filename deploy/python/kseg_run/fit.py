"""Fits frames of any size to the model's input, and class maps back to the frame.

Bit-exact with kseg/preprocess.py and deploy/cpp/kseg/fit.cc.
"""

import functools

import cv2
import numpy as np

Size = tuple[int, int]  # (height, width)
Region = tuple[slice, slice]  # rows and columns

UNSEEN_ID = 255  # Id of pixels that `crop` cut away.


def placement(frame_size: Size, input_size: Size, fit: str) -> tuple[int, int, int, int]:
    """Returns (height, width, top, left) of the scaled frame in the input, in pixels.

    Negative top or left: that much of the scaled frame is cut away.
    """
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


def frame_region(frame_size: Size, input_size: Size, fit: str) -> Region:
    """Returns the rows and columns of the input that show the frame: without letterbox bars."""
    height, width, top, left = placement(frame_size, input_size, fit)
    rows = slice(max(top, 0), min(top + height, input_size[0]))
    return rows, slice(max(left, 0), min(left + width, input_size[1]))


def fit_frame(frame: np.ndarray, input_size: Size, fit: str, pad_value: int) -> np.ndarray:
    """Fits (h, w, 3) uint8 to (height, width, 3) uint8: area average down, bilinear up."""
    height, width, top, left = placement(frame.shape[:2], input_size, fit)
    if frame.shape[:2] != (height, width):
        shrinks = height <= frame.shape[0] and width <= frame.shape[1]
        interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        frame = cv2.resize(frame, (width, height), interpolation=interpolation)
    if (height, width) == tuple(input_size):
        return frame
    canvas = np.full((*input_size, 3), pad_value, np.uint8)
    rows, columns = min(height, input_size[0]), min(width, input_size[1])
    visible = frame[max(-top, 0) :, max(-left, 0) :][:rows, :columns]
    canvas[max(top, 0) :, max(left, 0) :][:rows, :columns] = visible
    return canvas


def unfit_class_map(class_map: np.ndarray, frame_size: Size, fit: str) -> np.ndarray:
    """Maps (height, width) uint8 ids of the input to (h, w) uint8 ids of the frame, nearest."""
    height, width, top, left = placement(frame_size, class_map.shape, fit)
    scaled = class_map
    if (height, width) != class_map.shape:
        visible = class_map[max(top, 0) :, max(left, 0) :][:height, :width]
        scaled = np.full((height, width), UNSEEN_ID, np.uint8)
        target = scaled[max(-top, 0) :, max(-left, 0) :]
        target[: visible.shape[0], : visible.shape[1]] = visible
    rows, columns = _nearest(frame_size[0], height), _nearest(frame_size[1], width)
    # take() copies complete rows fastest, so the columns are taken as rows of the transpose.
    stretched = cv2.transpose(cv2.transpose(scaled).take(columns, axis=0))
    return stretched.take(rows, axis=0)


@functools.lru_cache(maxsize=16)
def _nearest(to_side: int, from_side: int) -> np.ndarray:
    """Returns, for each of to_side pixels, the index of its source among from_side pixels.

    In integers, because OpenCV's INTER_NEAREST_EXACT differs between its versions.
    """
    return (2 * np.arange(to_side) + 1) * from_side // (2 * to_side)
