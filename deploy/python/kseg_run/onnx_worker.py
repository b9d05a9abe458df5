"""Runs a model on one of ONNX Runtime's providers, in a child process because drivers may crash.

    python onnx_worker.py PROVIDER PRECISION CACHE

Reads from stdin, in the machine's byte order: 8 bytes of length, the .onnx, then the bytes of one
input after another. Writes to stdout: one line of JSON once the model is ready, then the bytes of
one output per input. Exits when stdin ends. Imports nothing from kseg_run.
"""

import json
import os
import signal
import struct
import sys
from typing import Any

CPU = "CPUExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The parent handles Ctrl-C.
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # What libraries print to stdout must not mix with the outputs.
    import numpy as np
    import onnxruntime

    provider, precision, cache = sys.argv[1:]
    stdin = sys.stdin.buffer
    (length,) = struct.unpack("=q", stdin.read(8))
    data = stdin.read(length)
    options = onnxruntime.SessionOptions()
    if provider != CPU:  # Fails where the provider would leave an operator to the CPU.
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    session = onnxruntime.InferenceSession(
        data, options, providers=providers(provider, precision, cache)
    )
    in_use = session.get_providers()[0]
    if in_use != provider:  # ONNX Runtime falls back by itself, with a warning.
        sys.exit(f"{provider} does not work here, only {in_use}")
    image, output = session.get_inputs()[0], session.get_outputs()[0]
    dtype = np.dtype({"tensor(uint8)": "uint8", "tensor(float)": "float32"}[image.type])
    size = int(np.prod(image.shape)) * dtype.itemsize
    # TensorRT builds its engine in the first run at the latest.
    session.run([output.name], {image.name: np.zeros(image.shape, dtype)})
    results.write(json.dumps({"fully_accelerated": True}).encode() + b"\n")
    results.flush()
    while len(frame := stdin.read(size)) == size:
        array = np.frombuffer(frame, dtype).reshape(image.shape)
        (values,) = session.run([output.name], {image.name: array})
        results.write(values.tobytes())
        results.flush()


def providers(provider: str, precision: str, cache: str) -> list[Any]:
    """Returns ONNX Runtime's argument: the provider and its options.

    TensorRT leaves operators that it does not have to CUDA. Its engine is kept in `cache`.
    """
    if provider != TENSORRT:
        return [provider]
    os.makedirs(cache, exist_ok=True)
    options = {
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": cache,
        "trt_timing_cache_enable": True,
        "trt_timing_cache_path": cache,
        "trt_fp16_enable": precision == "fp16",
        "trt_layer_norm_fp32_fallback": True,  # In fp16 its squares overflow.
    }
    return [(TENSORRT, options), "CUDAExecutionProvider"]


if __name__ == "__main__":
    main()
