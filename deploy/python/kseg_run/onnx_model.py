"""An .onnx on ONNX Runtime: its CPU, and TensorRT or CUDA in a child process."""

import hashlib
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from kseg_run.contract import reexport
from kseg_run.cpu_model import check_graph, first_line
from kseg_run.errors import DeviceLostError, FrameError, InputError
from kseg_run.gpu_model import GpuModel

# By name, ONNX Runtime's providers on a GPU, the fastest first.
PROVIDERS = {"TensorRT": "TensorrtExecutionProvider", "CUDA": "CUDAExecutionProvider"}
WORKER = (sys.executable, str(Path(__file__).with_name("onnx_worker.py")))
BUILD_S = 1800  # TensorRT tries all kernels when it builds an engine for the first time.
_DTYPES = {"tensor(uint8)": "uint8", "tensor(float)": "float32", "tensor(int32)": "int32"}


class OnnxModel:
    """Runs a model on the CPU: (height, width, 3) uint8 RGB of the input size -> its output.

    input_details and output_details have "shape" and "dtype", as those of CpuModel. runtime: name
    and version. Raises InputError for a file that ONNX Runtime cannot load or whose graph does not
    match its contract, and when ONNX Runtime is missing; FrameError when inference fails.
    """

    def __init__(
        self, data: bytes, contract: dict, num_threads: int | None, path: str | Path
    ) -> None:
        onnxruntime = _import_onnxruntime(path)
        self.runtime = f"ONNX Runtime {onnxruntime.__version__}"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = num_threads or 0, 1
        options.log_severity_level = 3  # Errors; its warnings are about optimisations.
        try:
            self._session = onnxruntime.InferenceSession(
                data, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # It has exceptions of its own, without a common type.
            line = first_line(error)
            raise InputError(f"{path}: corrupt .onnx file ({line}); {reexport(path)}") from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1:
            raise InputError(f"{path}: its graph was not written by kseg.export; {reexport(path)}")
        self.input_details, self.output_details = _details(inputs[0]), _details(outputs[0])
        check_graph(contract, self.input_details, self.output_details, path)
        self._names = [outputs[0].name], inputs[0].name

    def __call__(self, image: np.ndarray) -> np.ndarray:
        tensor = image[None].astype(self.input_details["dtype"], copy=False)
        output_names, input_name = self._names
        try:
            return self._session.run(output_names, {input_name: tensor})[0][0]
        except Exception as error:
            line = first_line(error)
            raise FrameError(f"ONNX Runtime cannot run the model ({line})") from error


def open_gpu(
    data: bytes,
    input_details: dict[str, Any],
    output_details: dict[str, Any],
    path: str | Path,
    *,
    precision: str | None = None,
) -> GpuModel:
    """Returns the model on TensorRT, or else on CUDA. Raises DeviceLostError when neither can."""
    available = _import_onnxruntime(path).get_available_providers()
    reasons = []
    for name, provider in PROVIDERS.items():
        if provider not in available:
            continue
        worker = (*WORKER, provider, precision or "", engine_cache(data))
        try:
            return GpuModel(
                data,
                input_details,
                output_details,
                path,
                worker,
                device=name,
                runtime="ONNX Runtime",
                compile_s=BUILD_S,
            )
        except DeviceLostError as error:
            reasons.append(str(error))
    if not reasons:
        reasons = [
            f"{path}: this onnxruntime has neither TensorRT nor CUDA ({', '.join(available)}); "
            "install onnxruntime-gpu (deploy/jetson/README.md)"
        ]
    raise DeviceLostError("; ".join(reasons))


def engine_cache(data: bytes) -> str:
    """The folder in which TensorRT keeps the engine that it builds for a file.

    One for each file: ONNX Runtime finds an engine by the graph, and would take that of a model
    with other weights.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return str(Path(cache) / "kseg" / "tensorrt" / hashlib.sha256(data).hexdigest()[:16])


def _import_onnxruntime(path: str | Path) -> Any:
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise InputError(
            f"{path}: needs ONNX Runtime; pip install onnxruntime, or onnxruntime-gpu for a GPU"
        ) from error
    return onnxruntime


def _details(tensor: Any) -> dict[str, Any]:
    """Returns shape and dtype of an input or output; sides of a dynamic shape are 0."""
    shape = [side if isinstance(side, int) else 0 for side in tensor.shape]
    return {"shape": np.array(shape), "dtype": np.dtype(_DTYPES.get(tensor.type, "object"))}
