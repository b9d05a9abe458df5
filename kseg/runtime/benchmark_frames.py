"""What a benchmark feeds a model, and the work around it for a whole frame of a camera."""

from pathlib import Path

import cv2
import numpy as np

from kseg import contract, preprocess
from kseg.errors import InputError
from kseg.labels import LabelSet
from kseg.visualize import overlay

NOISE_SIZE = (720, 1280)


def read(path):
    """Returns an image file as (h, w, 3) uint8 RGB; noise of NOISE_SIZE when path is None."""
    if path is None:
        return np.random.default_rng(0).integers(0, 256, (*NOISE_SIZE, 3), dtype=np.uint8)
    if not Path(path).is_file():
        raise InputError(f"--image {path}: no such file")
    frame = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if frame is None:
        raise InputError(f"--image {path}: cannot be decoded as an image")
    return frame


def model_input(frame, shape, dtype):
    """Resizes (h, w, 3) uint8 RGB to a model's input of (1, H, W, 3) or (1, 3, H, W).

    Floats keep 0..255, int8 is shifted by -128. Raises InputError for other shapes.
    """
    if len(shape) != 4 or shape[0] != 1 or 3 not in (shape[1], shape[3]):
        raise InputError(f"input of shape {list(shape)}; expected (1, H, W, 3) or (1, 3, H, W)")
    channels_first = shape[3] != 3
    array = preprocess.resize_image(frame, shape[2:] if channels_first else shape[1:3])
    if channels_first:
        array = array.transpose(2, 0, 1)
    if np.dtype(dtype) == np.int8:
        array = array.astype(np.int16) - 128
    return np.ascontiguousarray(array[None], dtype)


def whole_frame(model, path):
    """Returns a function (h, w, 3) uint8 RGB -> the same with class colours over it.

    It fits the frame, runs the model, takes the answer back and blends, as a runner in the car.
    Returns None when the file has no kseg contract to tell how.
    """
    if path.suffix != ".tflite" or contract.extract(path.read_bytes(), path) is None:
        return None
    told = contract.read(path)
    labels = LabelSet.from_dict(told.labels, where=path)

    def draw(frame):
        image = preprocess.fit_image(frame, told.input_size, told.fit)
        answer = model(image[None].astype(model.input_dtype))[0]
        if answer.ndim == 3:  # Logits: the argmax is the runner's.
            answer = answer[..., : len(labels.classes)].argmax(axis=-1).astype(np.uint8)
        class_map = preprocess.unfit_class_map(answer, frame.shape[:2], told.fit)
        return overlay.overlay(frame, class_map, labels)

    return draw
