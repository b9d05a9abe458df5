"""The process in which a .tflite meets LiteRT's GPU accelerator; native code may crash or hang.

    python gpu_child.py FILE.tflite IMAGES.npy OUT SECONDS

Writes OUT/compiled.json once the file is compiled; after as many of the images, (N, H, W, 3) uint8,
as SECONDS allow, at least one, OUT/answers.npy and OUT/latencies_ms.json. Run by kseg.runtime.gpu;
imports nothing of ours, so that what goes wrong here went wrong in LiteRT or in the driver.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np


def main(model_path, images_path, out, seconds):
    from ai_edge_litert.compiled_model import CompiledModel
    from ai_edge_litert.hardware_accelerator import HardwareAccelerator

    start = time.perf_counter()
    model = CompiledModel.from_file(model_path, hardware_accel=HardwareAccelerator.GPU)
    compiled = {
        "fully_accelerated": model.is_fully_accelerated(),
        "compile_s": time.perf_counter() - start,
    }
    (out / "compiled.json").write_text(json.dumps(compiled))
    (signature,) = model.get_signature_list()
    (takes,) = model.get_input_tensor_details(signature).values()
    (gives,) = model.get_output_tensor_details(signature).values()
    inputs, outputs = model.create_input_buffers(0), model.create_output_buffers(0)
    answers, latencies_ms, start = [], [], time.perf_counter()
    for image in np.load(images_path):
        began = time.perf_counter()
        inputs[0].write(image[None].astype(takes["dtype"]))
        model.run_by_index(0, inputs, outputs)
        flat = outputs[0].read(int(np.prod(gives["shape"])), np.dtype(gives["dtype"]).type)
        latencies_ms.append(1000 * (time.perf_counter() - began))
        answers.append(flat.reshape(gives["shape"])[0])
        if time.perf_counter() - start > float(seconds):
            break
    np.save(out / "answers.npy", np.stack(answers))
    (out / "latencies_ms.json").write_text(json.dumps(latencies_ms))


if __name__ == "__main__":
    main(*sys.argv[1:3], Path(sys.argv[3]), sys.argv[4])
