"""Runs a model on LiteRT's GPU accelerator, in a child process because drivers may crash or hang.

Reads from stdin, in the machine's byte order: 8 bytes of length, the .tflite, then the bytes of one
input after another. Writes to stdout: one line of JSON once the model is compiled, then the bytes
of one output per input. Exits when stdin ends. Imports nothing from kseg_run.
"""

import json
import os
import signal
import struct
import sys


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The parent handles Ctrl-C.
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # What libraries print to stdout must not mix with the outputs.
    import numpy as np
    from ai_edge_litert.compiled_model import CompiledModel
    from ai_edge_litert.hardware_accelerator import HardwareAccelerator

    stdin = sys.stdin.buffer
    (length,) = struct.unpack("=q", stdin.read(8))
    tflite = stdin.read(length)
    model = CompiledModel.from_buffer(tflite, hardware_accel=HardwareAccelerator.GPU)
    (signature,) = model.get_signature_list()
    (input_details,) = model.get_input_tensor_details(signature).values()
    (output_details,) = model.get_output_tensor_details(signature).values()
    inputs, outputs = model.create_input_buffers(0), model.create_output_buffers(0)
    input_dtype, output_dtype = np.dtype(input_details["dtype"]), np.dtype(output_details["dtype"])
    input_bytes = int(np.prod(input_details["shape"])) * input_dtype.itemsize
    output_count = int(np.prod(output_details["shape"]))
    ready = {"fully_accelerated": model.is_fully_accelerated()}
    results.write(json.dumps(ready).encode() + b"\n")
    results.flush()
    while len(data := stdin.read(input_bytes)) == input_bytes:
        inputs[0].write(np.frombuffer(data, input_dtype))
        model.run_by_index(0, inputs, outputs)
        results.write(outputs[0].read(output_count, output_dtype.type).tobytes())
        results.flush()


if __name__ == "__main__":
    main()
