"""The process in which a model runs on LiteRT's GPU accelerator; native code may crash or hang.

Reads from stdin, in the machine's byte order: 8 bytes of length and the .tflite, then the bytes of
one input after another. Writes to stdout: one line of JSON once the model is compiled, then the
bytes of one output for each input. Ends with stdin. Imports nothing of ours.
"""

import json
import os
import signal
import struct
import sys


def main():
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # What libraries print must not get between the answers.
    import numpy as np
    from ai_edge_litert.compiled_model import CompiledModel
    from ai_edge_litert.hardware_accelerator import HardwareAccelerator

    asks = sys.stdin.buffer
    (length,) = struct.unpack("=q", asks.read(8))
    tflite = asks.read(length)
    model = CompiledModel.from_buffer(tflite, hardware_accel=HardwareAccelerator.GPU)
    (signature,) = model.get_signature_list()
    (takes,) = model.get_input_tensor_details(signature).values()
    (gives,) = model.get_output_tensor_details(signature).values()
    inputs, outputs = model.create_input_buffers(0), model.create_output_buffers(0)
    takes_dtype, gives_dtype = np.dtype(takes["dtype"]), np.dtype(gives["dtype"])
    size = int(np.prod(takes["shape"])) * takes_dtype.itemsize
    count = int(np.prod(gives["shape"]))
    ready = {"fully_accelerated": model.is_fully_accelerated()}
    answers.write(json.dumps(ready).encode() + b"\n")
    answers.flush()
    while len(data := asks.read(size)) == size:
        inputs[0].write(np.frombuffer(data, takes_dtype))
        model.run_by_index(0, inputs, outputs)
        answers.write(outputs[0].read(count, gives_dtype.type).tobytes())
        answers.flush()


if __name__ == "__main__":
    main()
