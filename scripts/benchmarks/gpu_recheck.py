"""Measures what a comparison of GPU and CPU costs while driving (deploy/README.md).

    python scripts/benchmarks/gpu_recheck.py MODEL.tflite FRAME.png [--rounds 200]

The CPU's class map of the frame plays the GPU's, so that its own time is 0. Prints minimum and
median of the processor time that the inference thread spends on a frame, without a comparison and
when it starts one, and the CPU's time for a comparison, in ms.
"""

import argparse
import sys
import time
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "deploy" / "python"))
from kseg_run.fit import fit_frame
from kseg_run.gpu_check import RETRY_S
from kseg_run.segmenter import Segmenter


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help=".tflite to run")
    parser.add_argument("frame", help="image with contrast and several classes")
    parser.add_argument(
        "--rounds", type=int, default=200, help="frames of each kind (default: 200)"
    )
    args = parser.parse_args()
    frame = cv2.imread(args.frame, cv2.IMREAD_COLOR_RGB)
    now = [0.0]
    on_cpu = Segmenter(args.model, 1)
    image = fit_frame(frame, on_cpu.contract["input_size"], on_cpu.contract["fit"], 0)
    segmenter = Segmenter(
        args.model,
        1,
        "gpu",
        recheck_s=RETRY_S,
        clock=lambda: now[0],
        open_gpu=lambda *_: Replay(on_cpu._cpu(image)),
    )
    segmenter(frame)
    times_ms = {"without a comparison": [], "starting a comparison": []}
    for _ in range(args.rounds):
        for name, values in times_ms.items():
            now[0] += RETRY_S if name.startswith("starting") else 0
            start = time.thread_time()
            segmenter(frame)
            values.append(1000 * (time.thread_time() - start))
            segmenter.finish()
    for name, values in times_ms.items():
        print(f"{name:22s} {min(values):7.3f} {np.median(values):7.3f}")
    print(segmenter.gpu_check)
    segmenter.close()
    return 0


class Replay:
    """A GPU that takes no time: returns the same output for every frame."""

    def __init__(self, output):
        self._output = output

    def __call__(self, image):
        return self._output

    def close(self):
        pass


if __name__ == "__main__":
    sys.exit(main())
