"""A .tflite on the CPU, by LiteRT."""

import math
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType


class TFLiteModel:
    """A .tflite with one input, on LiteRT's CPU kernels. Reads its first output.

    model: the file's path, which LiteRT maps into memory, or its bytes.
    num_threads: None leaves the number to LiteRT.
    reference_kernels: LiteRT's plain C++ kernels in place of XNNPACK. They are slow and compute the
    same on every CPU.
    Raises ValueError or RuntimeError when LiteRT cannot run the file, ValueError for several
    inputs.
    """

    def __init__(
        self,
        model: bytes | str | Path,
        num_threads: int | None = None,
        *,
        reference_kernels: bool = False,
    ):
        is_content = isinstance(model, bytes)
        self._interpreter = Interpreter(
            model_path=None if is_content else str(model),
            model_content=model if is_content else None,
            num_threads=num_threads,
            experimental_op_resolver_type=(
                OpResolverType.BUILTIN_REF if reference_kernels else OpResolverType.AUTO
            ),
        )
        self._interpreter.allocate_tensors()
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        if len(inputs) != 1:
            raise ValueError(f"{len(inputs)} inputs; expected one image")
        self._input_index, self._output_index = inputs[0]["index"], outputs[0]["index"]
        self.input_shape, self.output_shape = _shape(inputs[0]), _shape(outputs[0])
        self.input_dtype = np.dtype(inputs[0]["dtype"]).name
        self.output_dtype = np.dtype(outputs[0]["dtype"]).name
        self.runtime = f"LiteRT {version('ai-edge-litert')}"

    def run(self, array: np.ndarray) -> np.ndarray:
        """Returns the output array for an array of input_shape and input_dtype."""
        self._interpreter.set_tensor(self._input_index, array)
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._output_index)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 RGB of the model's size -> (H, W) class ids."""
        return class_ids(self.run(image[None].astype(self.input_dtype))[0])


def tensor_maxima(tflite: bytes, images: Iterable[np.ndarray]) -> dict[str, float]:
    """Runs a file on images and returns {tensor name: largest magnitude} of its float tensors.

    images: (H, W, 3) uint8 RGB of the model's size. Infinity stands for values that are not finite.
    """
    interpreter = Interpreter(
        model_content=tflite,
        experimental_preserve_all_tensors=True,
        # XNNPACK keeps the tensors between its operators to itself.
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    details = interpreter.get_input_details()[0]
    maxima: dict[str, float] = {}
    for image in images:
        interpreter.set_tensor(details["index"], image[None].astype(details["dtype"]))
        interpreter.invoke()
        for tensor in interpreter.get_tensor_details():
            if tensor["dtype"] is np.float32 and np.prod(tensor["shape"]):
                magnitude = np.abs(interpreter.get_tensor(tensor["index"])).max()
                largest = float(magnitude) if np.isfinite(magnitude) else math.inf
                maxima[tensor["name"]] = max(largest, maxima.get(tensor["name"], 0.0))
    return maxima


def class_ids(output: np.ndarray) -> np.ndarray:
    """Converts the output for one frame, (H, W) ids or (H, W, C) logits, to (H, W) ids."""
    return output.argmax(-1) if output.ndim == 3 else output


def _shape(details: dict) -> tuple[int, ...]:
    return tuple(int(side) for side in details["shape"])
