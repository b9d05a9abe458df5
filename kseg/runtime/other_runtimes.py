"""LiteRT, ONNX Runtime and OpenVINO behind one interface: input array in, output array out.

A model is named by a spec:
  FILE.tflite                          LiteRT on the CPU (XNNPACK, its default)
  gpu:FILE.tflite                      LiteRT on the GPU, all operators or an error
  FILE.onnx                            ONNX Runtime on the CPU
  FILE.xml, openvino:FILE              OpenVINO on the CPU, float32 (FILE: .onnx, .xml or .tflite)
  openvino-default:FILE                OpenVINO in the precision it chooses (bf16 where supported)
"""

from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import numpy as np

from kseg.errors import InputError
from kseg.runtime.litert import TFLiteModel
from kseg.runtime.onnx_runtime import OnnxModel, import_optional, only_input

_SUFFIXES = {
    "": (".tflite", ".onnx", ".xml"),
    "gpu": (".tflite",),
    "openvino": (".onnx", ".xml", ".tflite"),
    "openvino-default": (".onnx", ".xml", ".tflite"),
}


class LoadedModel(Protocol):
    """A model with one input, ready to run. runtime: its name, version and precision."""

    runtime: str
    input_shape: tuple[int, ...]
    input_dtype: str

    def run(self, array: np.ndarray) -> np.ndarray:
        """Returns the first output for an array of input_shape and input_dtype."""


def parse_spec(spec: str) -> tuple[str, Path]:
    """Returns (prefix, path) of a spec. Raises InputError when it names no model file."""
    prefix, colon, rest = spec.partition(":")
    if not colon or prefix not in _SUFFIXES:
        prefix, rest = "", spec
    path = Path(rest)
    if path.suffix not in _SUFFIXES[prefix]:
        expected = ", ".join(_SUFFIXES[prefix])
        raise InputError(f"{spec}: expected a model ({expected}), got '{path.suffix or path.name}'")
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    return prefix, path


def load_model(spec: str, threads: int) -> LoadedModel:
    """Loads the model of a spec.

    Raises InputError when the file cannot be run or the runtime is not installed.
    """
    prefix, path = parse_spec(spec)
    try:
        model = _load(prefix, path, threads)
    except (InputError, ModuleNotFoundError):
        raise
    except Exception as error:  # Each runtime raises its own types, some a bare Exception.
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{spec}: cannot be run ({line})") from error
    if not all(isinstance(side, int | np.integer) and side > 0 for side in model.input_shape):
        raise InputError(f"{path}: input shape {list(model.input_shape)}; expected a fixed one")
    return model


def _load(prefix: str, path: Path, threads: int) -> LoadedModel:
    if prefix == "gpu":
        return LiteRTGpuModel(path, threads)
    if prefix == "openvino-default":
        return OpenVinoModel(path, threads, precision=None)
    if prefix == "openvino" or path.suffix == ".xml":
        return OpenVinoModel(path, threads, precision="f32")
    if path.suffix == ".onnx":
        return OnnxModel(path, threads)
    return TFLiteModel(path, threads)


class LiteRTGpuModel:
    """LiteRT's GPU accelerator. An error in a driver may end the process: use a child process."""

    def __init__(self, path: Path, threads: int):
        from ai_edge_litert.compiled_model import CompiledModel
        from ai_edge_litert.hardware_accelerator import HardwareAccelerator

        self.runtime = f"LiteRT {version('ai-edge-litert')} GPU"
        on_cpu = TFLiteModel(path, threads)  # For shapes and dtypes only.
        self.input_shape, self.input_dtype = on_cpu.input_shape, on_cpu.input_dtype
        self._output_shape = on_cpu.output_shape
        self._output_type = np.dtype(on_cpu.output_dtype).type
        try:
            self._model = CompiledModel.from_file(str(path), HardwareAccelerator.GPU)
        except RuntimeError as error:
            raise InputError(
                f"{path}: LiteRT finds no GPU here, or one that does not support all operators"
            ) from error
        if not self._model.is_fully_accelerated():
            raise InputError(f"{path}: the GPU does not support all operators")
        self._inputs = self._model.create_input_buffers(0)
        self._outputs = self._model.create_output_buffers(0)

    def run(self, array: np.ndarray) -> np.ndarray:
        self._inputs[0].write(array.ravel())
        self._model.run_by_index(0, self._inputs, self._outputs)
        count = int(np.prod(self._output_shape))
        return self._outputs[0].read(count, self._output_type).reshape(self._output_shape)


class OpenVinoModel:
    """OpenVINO's CPU plugin, tuned for latency. precision None: the one that OpenVINO chooses."""

    def __init__(self, path: Path, threads: int, *, precision: str | None):
        openvino = import_optional("openvino", path)
        hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
        if precision:
            hints["INFERENCE_PRECISION_HINT"] = precision
        compiled = openvino.Core().compile_model(str(path), "CPU", hints)
        image = only_input(path, compiled.inputs)
        if image.partial_shape.is_dynamic:
            raise InputError(f"{path}: input shape {image.partial_shape}; expected a fixed one")
        self._request = compiled.create_infer_request()
        actual_precision = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        self.runtime = f"OpenVINO {version('openvino')} {actual_precision}"
        self.input_shape = tuple(image.shape)
        self.input_dtype = np.dtype(image.element_type.to_dtype()).name

    def run(self, array: np.ndarray) -> np.ndarray:
        self._request.infer([array], share_inputs=True)
        return self._request.get_output_tensor(0).data
