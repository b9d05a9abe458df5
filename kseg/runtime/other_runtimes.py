"""One face for every runtime a model is timed on: array in, array out.

A model is named by a spec:
  FILE.tflite                          LiteRT on the CPU (XNNPACK, its default)
  gpu:FILE.tflite                      LiteRT on the GPU, whole graph or not at all
  FILE.onnx                            ONNX Runtime on the CPU
  FILE.xml, openvino:FILE              OpenVINO on the CPU, float32 (FILE: .onnx, .xml or .tflite)
  openvino-default:FILE                OpenVINO in the precision it chooses (bf16 where it can)
"""

import importlib
from importlib.metadata import version
from pathlib import Path

import numpy as np

from kseg.errors import InputError

_SUFFIXES = {
    "": (".tflite", ".onnx", ".xml"),
    "gpu": (".tflite",),
    "openvino": (".onnx", ".xml", ".tflite"),
    "openvino-default": (".onnx", ".xml", ".tflite"),
}


def split(spec):
    """Returns (prefix, path) of a spec. Raises InputError when it names nothing that can run."""
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


def load(spec, threads):
    """Opens the model of a spec.

    Returns an object with `runtime` (name, version, precision), `input_shape`, `input_dtype` and
    `__call__(array) -> array`: the first output of the one input. Raises InputError when the file
    cannot be run or the runtime is not installed.
    """
    prefix, path = split(spec)
    if prefix == "gpu":
        kind = LiteRTGpu
    elif prefix.startswith("openvino") or path.suffix == ".xml":
        kind = OpenVino if prefix != "openvino-default" else OpenVinoDefault
    else:
        kind = LiteRT if path.suffix == ".tflite" else OnnxRuntime
    try:
        return kind(path, threads)
    except (InputError, ModuleNotFoundError):
        raise
    except Exception as error:  # Each runtime has exceptions of its own, some bare Exception.
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{spec}: cannot be run ({line})") from error


class LiteRT:
    """TFLite's interpreter with XNNPACK, as in deploy/python."""

    def __init__(self, path, threads):
        from ai_edge_litert.interpreter import Interpreter

        self.runtime = f"LiteRT {version('ai-edge-litert')}"
        self._interpreter = Interpreter(model_path=str(path), num_threads=threads)
        self._interpreter.allocate_tensors()
        details = self._interpreter.get_input_details()
        _one_input(path, details)
        self._input = details[0]["index"]
        self.output = self._interpreter.get_output_details()[0]
        self.input_shape = _static(path, details[0]["shape"])
        self.input_dtype = np.dtype(details[0]["dtype"])

    def __call__(self, array):
        self._interpreter.set_tensor(self._input, array)
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self.output["index"])


class LiteRTGpu:
    """LiteRT's GPU accelerator. A fault in a driver ends the process: open it in a child."""

    def __init__(self, path, threads):
        from ai_edge_litert.compiled_model import CompiledModel
        from ai_edge_litert.hardware_accelerator import HardwareAccelerator

        self.runtime = f"LiteRT {version('ai-edge-litert')} GPU"
        # Shapes and types as the interpreter tells them; it runs nothing here.
        twin = LiteRT(path, threads)
        self.input_shape, self.input_dtype = twin.input_shape, twin.input_dtype
        self._shape, self._dtype = twin.output["shape"], twin.output["dtype"]
        try:
            self._model = CompiledModel.from_file(str(path), HardwareAccelerator.GPU)
        except RuntimeError as error:
            raise InputError(
                f"{path}: LiteRT finds no GPU here, or one that does not take the whole graph"
            ) from error
        if not self._model.is_fully_accelerated():
            raise InputError(f"{path}: the GPU does not take the whole graph")
        self._inputs = self._model.create_input_buffers(0)
        self._outputs = self._model.create_output_buffers(0)

    def __call__(self, array):
        self._inputs[0].write(array.ravel())
        self._model.run_by_index(0, self._inputs, self._outputs)
        count = int(np.prod(self._shape))
        return self._outputs[0].read(count, self._dtype).reshape(self._shape)


_ONNX_DTYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8", "tensor(int8)": "int8"}


class OnnxRuntime:
    """ONNX Runtime's CPU provider with all graph optimisations, its default."""

    def __init__(self, path, threads):
        onnxruntime = _optional("onnxruntime", path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        _one_input(path, self._session.get_inputs())
        first = self._session.get_inputs()[0]
        self._name, self._outputs = first.name, [self._session.get_outputs()[0].name]
        self.runtime = f"ONNX Runtime {onnxruntime.__version__}"
        self.input_shape = _static(path, first.shape)
        if first.type not in _ONNX_DTYPES:
            raise InputError(f"{path}: input of {first.type}; expected float32, uint8 or int8")
        self.input_dtype = np.dtype(_ONNX_DTYPES[first.type])

    def __call__(self, array):
        return self._session.run(self._outputs, {self._name: array})[0]


class OpenVino:
    """OpenVINO's CPU plugin, in float32, tuned for latency."""

    _PRECISION = "f32"

    def __init__(self, path, threads):
        openvino = _optional("openvino", path)
        hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
        if self._PRECISION:
            hints["INFERENCE_PRECISION_HINT"] = self._PRECISION
        compiled = openvino.Core().compile_model(str(path), "CPU", hints)
        _one_input(path, compiled.inputs)
        self._request = compiled.create_infer_request()
        precision = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        self.runtime = f"OpenVINO {version('openvino')} {precision}"
        first = compiled.inputs[0]
        if first.partial_shape.is_dynamic:
            raise InputError(f"{path}: input shape {first.partial_shape}; expected a fixed one")
        self.input_shape = tuple(first.shape)
        self.input_dtype = np.dtype(first.element_type.to_dtype())

    def __call__(self, array):
        self._request.infer([array], share_inputs=True)
        return self._request.get_output_tensor(0).data


class OpenVinoDefault(OpenVino):
    """The same in the precision that OpenVINO chooses for this CPU."""

    _PRECISION = None


def _optional(package, path):
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise InputError(
            f"{path}: needs {package}, which is not installed; ./scripts/install benchmark"
        ) from error


def _one_input(path, inputs):
    if len(inputs) != 1:
        raise InputError(f"{path}: {len(inputs)} inputs; expected one image")


def _static(path, shape):
    if not all(isinstance(side, int | np.integer) and side > 0 for side in shape):
        raise InputError(f"{path}: input shape {list(shape)}; expected a fixed one")
    return tuple(int(side) for side in shape)
