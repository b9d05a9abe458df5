"""An .onnx on the CPU, by ONNX Runtime."""

import importlib
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kseg.errors import InputError
from kseg.runtime.litert import class_ids

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(int32)": "int32",
}


class OnnxModel:
    """ONNX Runtime's CPU provider with all graph optimisations, which is its default.

    model: the file's path or its bytes. num_threads: None leaves the number to ONNX Runtime.
    Raises InputError when the package is missing, for several inputs, and for dtypes not above.
    """

    def __init__(self, model: bytes | str | Path, num_threads: int | None = None):
        path = "model" if isinstance(model, bytes) else model
        onnxruntime = import_optional("onnxruntime", path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = num_threads or 0, 1
        self._session = onnxruntime.InferenceSession(
            model if isinstance(model, bytes) else str(model),
            options,
            providers=["CPUExecutionProvider"],
        )
        image = only_input(path, self._session.get_inputs())
        if image.type not in _DTYPES:
            raise InputError(f"{path}: input of {image.type}; expected float32, uint8 or int8")
        output = self._session.get_outputs()[0]
        self._input_name, self._output_names = image.name, [output.name]
        self.runtime = f"ONNX Runtime {onnxruntime.__version__}"
        self.input_shape = tuple(image.shape)
        self.input_dtype, self.output_dtype = _DTYPES[image.type], _DTYPES.get(output.type, "")

    def run(self, array: np.ndarray) -> np.ndarray:
        """Returns the output array for an array of input_shape and input_dtype."""
        return self._session.run(self._output_names, {self._input_name: array})[0]

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 RGB of the model's size -> (H, W) class ids."""
        return class_ids(self.run(image[None].astype(self.input_dtype))[0])


def tensor_maxima(onnx_file: bytes, images: Iterable[np.ndarray]) -> dict[str, float]:
    """Runs a file on images and returns {tensor name: largest magnitude} of its float16 tensors.

    images: (H, W, 3) uint8 RGB of the model's size. Infinity stands for values that are not finite.
    """
    import onnx
    import onnxruntime

    model = onnx.load_from_string(onnx_file)
    inferred = onnx.shape_inference.infer_shapes(model).graph.value_info
    halves = [v for v in inferred if v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16]
    # As an output, a tensor is rounded to float16; inside, the CPU may go on in float32.
    model.graph.output.extend(halves)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names, image_name = [value.name for value in halves], session.get_inputs()[0].name
    maxima = dict.fromkeys(names, 0.0)
    for image in images:
        values = session.run(names, {image_name: image[None]})
        for name, value in zip(names, values, strict=True):
            magnitude = float(np.abs(value).max())
            maxima[name] = max(maxima[name], magnitude if math.isfinite(magnitude) else math.inf)
    return maxima


def import_optional(package: str, path: str | Path) -> Any:
    """Imports the package of an extra. Raises InputError, naming the file that needs it."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise InputError(
            f"{path}: needs {package}, which is not installed; run ./scripts/install benchmark"
        ) from error


def only_input(path: str | Path, inputs: Sequence[Any]) -> Any:
    """Returns the input of a graph. Raises InputError for several."""
    if len(inputs) != 1:
        raise InputError(f"{path}: {len(inputs)} inputs; expected one image")
    return inputs[0]
