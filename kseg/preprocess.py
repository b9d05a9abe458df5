"""How a frame of any size becomes the model's input, and how the answer goes back.

This is the one definition: conversion to TFRecords, training, export's checks and `kseg.predict`
call it, and the runners in deploy/ follow it to the bit (tests compare them). NumPy and OpenCV
only. Values are left alone: models take raw RGB in 0..255 and normalise inside the graph.
"""

from typing import NamedTuple

import cv2
import numpy as np

from kseg.labels import IGNORE_ID

FITS = ("letterbox", "stretch", "crop")
PAD_VALUE = 0  # Colour of letterbox bars, in all three channels.


class Placement(NamedTuple):
    """Where a frame lies in the model's input: scaled to (height, width), then moved.

    top and left are positive where bars are added (letterbox), negative where rows or columns
    are cut off (crop).
    """

    height: int
    width: int
    top: int
    left: int


def placement(frame_size, input_size, fit):
    """Returns the Placement of a frame of size (height, width) in an input of another size.

    letterbox shows the whole frame with bars; stretch changes its shape; crop fills the input
    and cuts what hangs over, evenly on both sides. Scaled sizes are rounded half up, so that
    runners in other languages get the same integers.
    """
    (frame_height, frame_width), (height, width) = frame_size, input_size
    if fit == "stretch":
        return Placement(height, width, 0, 0)
    choose = {"letterbox": min, "crop": max}[fit]
    scale = choose(height / frame_height, width / frame_width)
    scaled_height = max(1, int(frame_height * scale + 0.5))
    scaled_width = max(1, int(frame_width * scale + 0.5))
    # Halves are cut towards zero, as integer division does in C++ and Java.
    top, left = int((height - scaled_height) / 2), int((width - scaled_width) / 2)
    return Placement(scaled_height, scaled_width, top, left)


def resize_image(image, size):
    """Resizes (H, W, 3) uint8 to size (height, width): area-averaged down, bilinear up."""
    height, width = size
    if image.shape[:2] == (height, width):
        return image
    shrinks = height <= image.shape[0] and width <= image.shape[1]
    return cv2.resize(
        image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    )


def resize_mask(mask, size):
    """Resizes (H, W) uint8 ids to size (height, width), nearest at pixel centres.

    Nearest: bilinear would invent class ids along borders. Not by OpenCV: INTER_NEAREST samples
    half a pixel away from where the image's interpolations do, and where a centre falls between two
    pixels INTER_NEAREST_EXACT chooses otherwise in 4.6 than in 5.0. Integers choose alike anywhere.
    """
    rows, columns = (
        (2 * np.arange(to) + 1) * side // (2 * to)
        for to, side in zip(size, mask.shape, strict=True)
    )
    return mask[rows][:, columns]


def fit_image(image, input_size, fit):
    """(h, w, 3) uint8 RGB of any size -> (height, width, 3) uint8 RGB of input_size."""
    place = placement(image.shape[:2], input_size, fit)
    return _place(resize_image(image, place[:2]), place, input_size, PAD_VALUE)


def fit_mask(mask, input_size, fit):
    """(h, w) uint8 ids of any size -> (height, width) uint8 ids; bars are ignored."""
    place = placement(mask.shape, input_size, fit)
    return _place(resize_mask(mask, place[:2]), place, input_size, IGNORE_ID)


def unfit_class_map(class_map, frame_size, fit):
    """Takes a class map of the model's input back onto the frame it came from.

    class_map (height, width) uint8 -> (h, w) uint8 of frame_size. What `crop` cut away was not
    seen by the model and gets IGNORE_ID.
    """
    place = placement(frame_size, class_map.shape, fit)
    top, left = max(place.top, 0), max(place.left, 0)
    seen = class_map[top : top + place.height, left : left + place.width]
    scaled = np.full(place[:2], IGNORE_ID, np.uint8)
    cut_top, cut_left = max(-place.top, 0), max(-place.left, 0)
    scaled[cut_top : cut_top + seen.shape[0], cut_left : cut_left + seen.shape[1]] = seen
    return resize_mask(scaled, frame_size)


def _place(array, place, input_size, fill):
    """Moves an already scaled image or mask to its place in the input."""
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
