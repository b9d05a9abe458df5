"""Fits frames of any size to the model's input, and class maps back to the frame.

This is the only definition: conversion to TFRecords, training, export's checks and `kseg.predict`
call it, and the runners in deploy/ are bit-exact with it (tests compare them). NumPy and OpenCV
only. Pixel values stay as they are: models take raw RGB in 0..255 and normalise inside the graph.
"""

from typing import NamedTuple

import cv2
import numpy as np

from kseg.labels import IGNORE_ID

Size = tuple[int, int]  # (height, width)

FITS = ("letterbox", "stretch", "crop")
PAD_VALUE = 0  # Value of letterbox bars in all three channels.
# Part of the identity of shards, cached frames and recorded scores. Increase it with every change
# here that gives other pixels.
FIT_VERSION = 1


class Placement(NamedTuple):
    """Where a frame lies in the model's input: scaled to (height, width), then shifted.

    top and left are positive when bars are added (letterbox), negative when rows or columns are
    cut off (crop).
    """

    height: int
    width: int
    top: int
    left: int


def placement(frame_size: Size, input_size: Size, fit: str) -> Placement:
    """Returns the Placement of a frame in a model input of another size.

    letterbox keeps all of the frame and adds bars; stretch changes its aspect ratio; crop fills the
    input and cuts off what exceeds it, equally on both sides. Scaled sizes are rounded half up, so
    that runners in other languages get the same integers.
    """
    (frame_height, frame_width), (height, width) = frame_size, input_size
    if fit == "stretch":
        return Placement(height, width, 0, 0)
    choose = {"letterbox": min, "crop": max}[fit]
    scale = choose(height / frame_height, width / frame_width)
    scaled_height = max(1, int(frame_height * scale + 0.5))
    scaled_width = max(1, int(frame_width * scale + 0.5))
    # int() truncates towards zero, as integer division does in C++ and Java.
    top, left = int((height - scaled_height) / 2), int((width - scaled_width) / 2)
    return Placement(scaled_height, scaled_width, top, left)


def resize_image(image: np.ndarray, size: Size) -> np.ndarray:
    """Resizes an image (H, W, 3) uint8: area averaging when it shrinks, bilinear otherwise."""
    height, width = size
    if image.shape[:2] == (height, width):
        return image
    shrinks = height <= image.shape[0] and width <= image.shape[1]
    return cv2.resize(
        image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    )


def resize_mask(mask: np.ndarray, size: Size) -> np.ndarray:
    """Resizes a mask (H, W) uint8 of class ids by nearest neighbour at pixel centres.

    Bilinear would invent class ids along borders. OpenCV is not used: INTER_NEAREST samples half a
    pixel away from where the image is sampled, and INTER_NEAREST_EXACT breaks ties differently in
    4.6 and 5.0. Integer arithmetic gives the same result everywhere.
    """
    rows, columns = (
        (2 * np.arange(after) + 1) * before // (2 * after)
        for after, before in zip(size, mask.shape, strict=True)
    )
    return mask[rows][:, columns]


def fit_image(image: np.ndarray, input_size: Size, fit: str) -> np.ndarray:
    """Fits an image (h, w, 3) uint8 RGB of any size to input_size: (height, width, 3) uint8."""
    place = placement(image.shape[:2], input_size, fit)
    return _place(resize_image(image, place[:2]), place, input_size, PAD_VALUE)


def fit_mask(mask: np.ndarray, input_size: Size, fit: str) -> np.ndarray:
    """Fits a mask (h, w) uint8 of any size to input_size; bars get IGNORE_ID."""
    place = placement(mask.shape, input_size, fit)
    return _place(resize_mask(mask, place[:2]), place, input_size, IGNORE_ID)


def unfit_class_map(class_map: np.ndarray, frame_size: Size, fit: str) -> np.ndarray:
    """Maps a class map of the model's input back onto the frame: the inverse of fit_image.

    class_map (height, width) uint8 -> (h, w) uint8 of frame_size. Pixels that `crop` cut off were
    not seen by the model and get IGNORE_ID.
    """
    place = placement(frame_size, class_map.shape, fit)
    top, left = max(place.top, 0), max(place.left, 0)
    seen = class_map[top : top + place.height, left : left + place.width]
    scaled = np.full(place[:2], IGNORE_ID, np.uint8)
    cut_top, cut_left = max(-place.top, 0), max(-place.left, 0)
    scaled[cut_top : cut_top + seen.shape[0], cut_left : cut_left + seen.shape[1]] = seen
    return resize_mask(scaled, frame_size)


def _place(array: np.ndarray, place: Placement, input_size: Size, fill: int) -> np.ndarray:
    """Pads or crops an image or mask that has already been scaled."""
    if array.shape[:2] == tuple(input_size):
        return array
    height, width = input_size
    canvas = np.full((height, width, *array.shape[2:]), fill, np.uint8)
    cut_top, cut_left = max(-place.top, 0), max(-place.left, 0)
    top, left = max(place.top, 0), max(place.left, 0)
    rows, columns = min(place.height, height), min(place.width, width)
    canvas[top : top + rows, left : left + columns] = array[
        cut_top : cut_top + rows, cut_left : cut_left + columns
    ]
    return canvas
