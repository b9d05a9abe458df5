"""The frame that a benchmark uses: its model input, and the processing of a complete frame."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from kseg import contract, preprocess
from kseg.errors import InputError
from kseg.labels import LabelSet
from kseg.runtime.other_runtimes import LoadedModel
from kseg.visualize import overlay
from kseg.visualize.images import read_image

NOISE_SIZE = (720, 1280)


def read_frame(path: str | None) -> np.ndarray:
    """Returns an image file as (h, w, 3) uint8 RGB; noise of NOISE_SIZE when path is None."""
    if path is None:
        return np.random.default_rng(0).integers(0, 256, (*NOISE_SIZE, 3), dtype=np.uint8)
    if not Path(path).is_file():
        raise InputError(f"--image {path}: no such file")
    return read_image(Path(path))


def model_input(frame: np.ndarray, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Resizes (h, w, 3) uint8 RGB to a model's input shape, (1, H, W, 3) or (1, 3, H, W).

    float32 stays in 0..255, int8 is shifted by -128. Raises InputError for other shapes.
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


def frame_processor(model: LoadedModel, path: Path) -> Callable[[np.ndarray], np.ndarray] | None:
    """Returns a function (h, w, 3) uint8 RGB -> the same frame with its class colours over it.

    It does what a runner in the car does: fits the frame to the input, runs the model, maps the
    class map back onto the frame and blends the colours. None for a file without a kseg contract,
    because only the contract says how.
    """
    if path.suffix not in (".tflite", ".onnx") or contract.extract(path.read_bytes(), path) is None:
        return None
    terms = contract.read(path)
    labels = LabelSet.from_dict(terms.labels, where=str(path))

    def process(frame: np.ndarray) -> np.ndarray:
        image = preprocess.fit_image(frame, terms.input_size, terms.fit)
        output = model.run(image[None].astype(model.input_dtype))[0]
        if output.ndim == 3:  # Logits: the runner computes the argmax.
            output = output[..., : len(labels.classes)].argmax(axis=-1).astype(np.uint8)
        class_map = preprocess.unfit_class_map(output, frame.shape[:2], terms.fit)
        return overlay.overlay(frame, class_map, labels)

    return process
