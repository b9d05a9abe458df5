"""Child process that runs a .tflite on LiteRT's GPU accelerator. Native code may crash or hang.

    python gpu_worker.py MODEL.tflite IMAGES.npy FOLDER SECONDS

IMAGES.npy holds (N, H, W, 3) uint8 RGB. Writes FOLDER/compiled.json once the model is compiled,
then runs at least one image and further ones until SECONDS have passed, and writes
FOLDER/outputs.npy and FOLDER/latencies_ms.json. kseg.runtime.gpu starts it. It imports nothing of
kseg, so that an error here is one of LiteRT or of the driver.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np


def main(model_path: str, images_path: str, folder: Path, limit_s: float) -> None:
    from ai_edge_litert.compiled_model import CompiledModel
    from ai_edge_litert.hardware_accelerator import HardwareAccelerator

    start = time.perf_counter()
    model = CompiledModel.from_file(model_path, hardware_accel=HardwareAccelerator.GPU)
    compiled = {
        "fully_accelerated": model.is_fully_accelerated(),
        "compile_s": time.perf_counter() - start,
    }
    (folder / "compiled.json").write_text(json.dumps(compiled))
    (signature,) = model.get_signature_list()
    (input_details,) = model.get_input_tensor_details(signature).values()
    (output_details,) = model.get_output_tensor_details(signature).values()
    input_dtype, output_dtype = (np.dtype(d["dtype"]) for d in (input_details, output_details))
    output_shape = output_details["shape"]
    inputs, outputs = model.create_input_buffers(0), model.create_output_buffers(0)
    results, latencies_ms = [], []
    start = time.perf_counter()
    for image in np.load(images_path):
        frame_start = time.perf_counter()
        inputs[0].write(image[None].astype(input_dtype))
        model.run_by_index(0, inputs, outputs)
        flat = outputs[0].read(int(np.prod(output_shape)), output_dtype.type)
        latencies_ms.append(1000 * (time.perf_counter() - frame_start))
        results.append(flat.reshape(output_shape)[0])
        if time.perf_counter() - start > limit_s:
            break
    np.save(folder / "outputs.npy", np.stack(results))
    (folder / "latencies_ms.json").write_text(json.dumps(latencies_ms))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), float(sys.argv[4]))
