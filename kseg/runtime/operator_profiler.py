"""Where the time goes: milliseconds by kind of operator, from LiteRT's own profiler.

The wheel's Python does not offer the profiler; its libLiteRt.so does, by LiteRT's C API
(google-ai-edge/LiteRT, litert/c/*.h at f67457790). XNNPACK's operators are named one by one. A
mistake in native calls ends the process, so kseg.runtime.subprocess_benchmark calls
this in a child.
"""

import ctypes
import re
from pathlib import Path

import ai_edge_litert
import numpy as np
from ai_edge_litert.interpreter import Interpreter

from kseg.errors import InputError

_CPU, _WRITE = 1, 1  # kLiteRtHwAcceleratorCpu, kLiteRtTensorBufferLockModeWrite
_ELEMENT_TYPES = {"float32": 1, "int32": 2, "uint8": 3, "int64": 4, "int8": 9}  # kTfLite...
_ROW = re.compile(
    r"^ *(?P<name>\S.*?) +\d+ +(?P<ms>[\d.]+) +[\d.]+% +[\d.]+% +[\d.]+ +(?P<calls>\d+)$"
)


def times(path, threads, runs=20):
    """Runs a .tflite on the CPU, on zeros. Returns [{"operator", "calls", "ms"}], longest first.

    calls and ms (of all calls together) are those of one run. Names are XNNPACK's where it took
    the operator, TFLite's (in capitals) where not. Raises InputError when the wheel's profiler
    cannot be had.
    """
    try:
        summary = _profile(path, threads, runs)
    except (AttributeError, OSError) as error:  # No such symbol, no such library.
        raise InputError(f"{path}: this ai-edge-litert has no profiler ({error})") from error
    found = [
        {
            "operator": row["name"].removeprefix("Delegate/"),
            "calls": round(int(row["calls"]) / runs),
            "ms": float(row["ms"]) * int(row["calls"]) / runs,
        }
        for row in _by_type(summary)
    ]
    if not found:
        raise InputError(f"{path}: LiteRT's profile has no table that kseg reads")
    return sorted(found, key=lambda row: -row["ms"])


def _by_type(summary):
    """Rows (regex matches) of the table `Summary by node type`."""
    _, _, rest = summary.partition(" Summary by node type ")
    for line in rest.splitlines()[2:]:
        match = _ROW.match(line)
        if match is None:
            return
        yield match


class _Layout(ctypes.Structure):
    _fields_ = (
        ("rank", ctypes.c_uint, 7),
        ("has_strides", ctypes.c_uint, 1),
        ("dimensions", ctypes.c_int32 * 8),
        ("strides", ctypes.c_uint32 * 8),
    )


class _TensorType(ctypes.Structure):
    _fields_ = (("element_type", ctypes.c_int), ("layout", _Layout))


def _profile(path, threads, runs):
    """Returns the profiler's summary, a text. Leaves all it made to the end of the process."""
    library = ctypes.CDLL(str(Path(ai_edge_litert.__file__).parent / "libLiteRt.so"))

    def call(name, *arguments):
        status = getattr(library, name)(*arguments)
        if status:
            raise InputError(f"{path}: {name} failed with status {status}")

    def make(name, *arguments):
        """Calls a function whose last argument is where it puts a handle. Returns the handle."""
        handle = ctypes.c_void_p()
        call(name, *arguments, ctypes.byref(handle))
        return handle

    environment = make("LiteRtCreateEnvironment", 0, None)
    model = make("LiteRtCreateModelFromFile", environment, str(path).encode())
    options = make("LiteRtCreateOptions")
    call("LiteRtSetOptionsHardwareAccelerators", options, _CPU)
    keep = []  # Read while compiling, never freed by LiteRT.
    for name, text in (
        (b"runtime_options_string", b"enable_profiling = true\n"),
        (b"xnnpack", b"num_threads = %d\n" % threads),
    ):
        keep.append(ctypes.create_string_buffer(text))
        free = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: None)
        keep.append(free)
        call("LiteRtAddOpaqueOptions", options, make("LiteRtCreateOpaqueOptions", name, *keep[-2:]))
    compiled = make("LiteRtCreateCompiledModel", environment, model, options)

    def buffer(side, details):
        zero = ctypes.c_size_t(0)
        needs = make(f"LiteRtGetCompiledModel{side}BufferRequirements", compiled, zero, zero)
        kind = _TensorType(_ELEMENT_TYPES[np.dtype(details["dtype"]).name])
        kind.layout.rank = len(details["shape"])
        kind.layout.dimensions[: len(details["shape"])] = [int(s) for s in details["shape"]]
        made = make(
            "LiteRtCreateManagedTensorBufferFromRequirements",
            environment,
            ctypes.byref(kind),
            needs,
        )
        return (ctypes.c_void_p * 1)(made)

    twin = Interpreter(model_path=str(path))  # For shapes and types; it runs nothing.
    inputs = buffer("Input", twin.get_input_details()[0])
    # Fresh memory may hold denormal floats, which are slow.
    start = ctypes.c_void_p()
    call("LiteRtLockTensorBuffer", ctypes.c_void_p(inputs[0]), ctypes.byref(start), _WRITE)
    details = twin.get_input_details()[0]
    ctypes.memset(start, 0, int(np.prod(details["shape"])) * np.dtype(details["dtype"]).itemsize)
    call("LiteRtUnlockTensorBuffer", ctypes.c_void_p(inputs[0]))
    outputs = buffer("Output", twin.get_output_details()[0])
    zero, one = ctypes.c_size_t(0), ctypes.c_size_t(1)
    profiler = make("LiteRtCompiledModelGetProfiler", compiled)
    for number in range(runs + 3):
        if number == 3:  # Warm by then.
            call("LiteRtStartProfiler", profiler)
        call("LiteRtRunCompiledModel", compiled, zero, one, inputs, one, outputs)
    call("LiteRtStopProfiler", profiler)
    return ctypes.string_at(make("LiteRtGetProfileSummary", profiler, compiled).value).decode()
