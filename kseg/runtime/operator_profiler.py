"""Milliseconds by kind of operator, from LiteRT's own profiler.

ai-edge-litert's Python API does not have the profiler, its libLiteRt.so does, in LiteRT's C API
(google-ai-edge/LiteRT, litert/c/*.h at f67457790). It names XNNPACK's operators one by one. A
mistake in a native call ends the process, so kseg.runtime.subprocess_benchmark uses this module in
a child process.
"""

import ctypes
import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ai_edge_litert
import numpy as np

from kseg.errors import InputError
from kseg.runtime.litert import TFLiteModel

# The C API whose signatures and struct layouts are below, as in deploy/cpp/kseg/litert.cc.
_CHECKED_VERSION = "2.3."
_SYMBOL_VERSION = "VERS_1.0"

_WARM_UP_RUNS = 3
_CPU = 1  # kLiteRtHwAcceleratorCpu
_WRITE = 1  # kLiteRtTensorBufferLockModeWrite
_ELEMENT_TYPES = {"float32": 1, "int32": 2, "uint8": 3, "int64": 4, "int8": 9}  # kTfLite...
_ROW = re.compile(
    r"^ *(?P<name>\S.*?) +\d+ +(?P<ms>[\d.]+) +[\d.]+% +[\d.]+% +[\d.]+ +(?P<calls>\d+)$"
)


def profile_operators(path: str | Path, threads: int, runs: int = 20) -> list[dict[str, Any]]:
    """Runs a .tflite on the CPU, on zeros. Returns [{"operator", "calls", "ms"}], slowest first.

    calls is a number per run, and ms the time of all these calls together. Names are XNNPACK's for
    operators that XNNPACK runs, and TFLite's (in capitals) for the others. Raises InputError when
    the installed LiteRT is of another version or its profile cannot be read.
    """
    summary = _profile(path, threads, runs)
    operators = [
        {
            "operator": row["name"].removeprefix("Delegate/"),
            "calls": round(int(row["calls"]) / runs),
            "ms": float(row["ms"]) * int(row["calls"]) / runs,
        }
        for row in _rows_by_type(summary)
    ]
    if not operators:
        raise InputError(f"{path}: LiteRT's profile has no table of operators that kseg can read")
    return sorted(operators, key=lambda row: -row["ms"])


def _rows_by_type(summary: str) -> Iterator[re.Match[str]]:
    """Yields the rows of the table `Summary by node type`."""
    _, _, rest = summary.partition(" Summary by node type ")
    for line in rest.splitlines()[2:]:
        match = _ROW.match(line)
        if match is None:
            return
        yield match


def _profile(path: str | Path, threads: int, runs: int) -> str:
    """Returns the profiler's summary. Handles are not destroyed: the process ends soon after."""
    litert = _LiteRt(path)
    environment = litert.create("LiteRtCreateEnvironment", 0, None)
    compiled = _compile(litert, environment, path, threads)
    model = TFLiteModel(path)  # For shapes and dtypes only.
    inputs = _create_buffer(
        litert, environment, compiled, "Input", model.input_shape, model.input_dtype
    )
    outputs = _create_buffer(
        litert, environment, compiled, "Output", model.output_shape, model.output_dtype
    )
    # Uninitialised memory may hold denormal floats, which are slow.
    input_bytes = int(np.prod(model.input_shape)) * np.dtype(model.input_dtype).itemsize
    _fill_with_zeros(litert, inputs, input_bytes)
    profiler = litert.create("LiteRtCompiledModelGetProfiler", compiled)
    for number in range(_WARM_UP_RUNS + runs):
        if number == _WARM_UP_RUNS:
            litert.call("LiteRtStartProfiler", profiler)
        _run(litert, compiled, inputs, outputs)
    litert.call("LiteRtStopProfiler", profiler)
    summary = litert.create("LiteRtGetProfileSummary", profiler, compiled).value
    return ctypes.string_at(summary or 0).decode()


class _LiteRt:
    """LiteRT's C API. Functions return a status, 0 for success."""

    def __init__(self, model_path: str | Path):
        """Raises InputError, naming the model, when the C API is not the one that kseg knows."""
        installed = version("ai-edge-litert")
        if not installed.startswith(_CHECKED_VERSION):
            raise InputError(
                f"{model_path}: --operators needs ai-edge-litert {_CHECKED_VERSION}x, not "
                f"{installed}, whose C API has not been checked"
            )
        self._model_path = model_path
        try:
            self._library = ctypes.CDLL(str(Path(ai_edge_litert.__file__).parent / "libLiteRt.so"))
            self._find = ctypes.CDLL(None).dlvsym
        except (AttributeError, OSError) as error:
            raise InputError(f"{model_path}: no LiteRT C API here ({error})") from error
        self._find.restype = ctypes.c_void_p
        self._find.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p)

    def call(self, name: str, *arguments: Any) -> None:
        """Calls a function. Raises InputError when it is missing or fails."""
        address = self._find(self._library._handle, name.encode(), _SYMBOL_VERSION.encode())
        if address is None:
            raise InputError(
                f"{self._model_path}: libLiteRt.so has no {name} of version {_SYMBOL_VERSION}"
            )
        status = ctypes.CFUNCTYPE(ctypes.c_int)(address)(*arguments)
        if status:
            raise InputError(f"{self._model_path}: {name} failed with status {status}")

    def create(self, name: str, *arguments: Any) -> ctypes.c_void_p:
        """Calls a function that writes a handle to its last argument. Returns the handle."""
        handle = ctypes.c_void_p()
        self.call(name, *arguments, ctypes.byref(handle))
        return handle


def _compile(litert, environment, path, threads):
    """Returns the handle of the model, compiled for the CPU with the profiler enabled."""
    model = litert.create("LiteRtCreateModelFromFile", environment, str(path).encode())
    options = litert.create("LiteRtCreateOptions")
    litert.call("LiteRtSetOptionsHardwareAccelerators", options, _CPU)
    texts = {
        b"runtime_options_string": b"enable_profiling = true\n",
        b"xnnpack": b"num_threads = %d\n" % threads,
    }
    # LiteRT reads the texts while it compiles, and never frees them.
    buffers = {name: ctypes.create_string_buffer(text) for name, text in texts.items()}
    do_not_free = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: None)
    for name, buffer in buffers.items():
        opaque = litert.create("LiteRtCreateOpaqueOptions", name, buffer, do_not_free)
        litert.call("LiteRtAddOpaqueOptions", options, opaque)
    return litert.create("LiteRtCreateCompiledModel", environment, model, options)


class _Layout(ctypes.Structure):
    """LiteRtLayout."""

    _fields_ = (
        ("rank", ctypes.c_uint, 7),
        ("has_strides", ctypes.c_uint, 1),
        ("dimensions", ctypes.c_int32 * 8),
        ("strides", ctypes.c_uint32 * 8),
    )


class _TensorType(ctypes.Structure):
    """LiteRtRankedTensorType."""

    _fields_ = (("element_type", ctypes.c_int), ("layout", _Layout))


def _create_buffer(litert, environment, compiled, side, shape, dtype):
    """Returns an array of one tensor buffer for the first "Input" or "Output" of the model."""
    first = ctypes.c_size_t(0)  # Of the signatures, and of the tensors.
    requirements = litert.create(
        f"LiteRtGetCompiledModel{side}BufferRequirements", compiled, first, first
    )
    tensor_type = _TensorType(_ELEMENT_TYPES[dtype])
    tensor_type.layout.rank = len(shape)
    tensor_type.layout.dimensions[: len(shape)] = shape
    buffer = litert.create(
        "LiteRtCreateManagedTensorBufferFromRequirements",
        environment,
        ctypes.byref(tensor_type),
        requirements,
    )
    return (ctypes.c_void_p * 1)(buffer)


def _fill_with_zeros(litert, buffers, byte_count):
    buffer, start = ctypes.c_void_p(buffers[0]), ctypes.c_void_p()
    litert.call("LiteRtLockTensorBuffer", buffer, ctypes.byref(start), _WRITE)
    ctypes.memset(start, 0, byte_count)
    litert.call("LiteRtUnlockTensorBuffer", buffer)


def _run(litert, compiled, inputs, outputs):
    signature, count = ctypes.c_size_t(0), ctypes.c_size_t(1)
    litert.call("LiteRtRunCompiledModel", compiled, signature, count, inputs, count, outputs)
