"""Measures the Python runner's work around inference, as a share of inference.

    python scripts/benchmarks/python_runner.py MODEL.tflite [--video VIDEO] [--size 720 1280]

The frame is the video's first, or noise of --size. All steps run interleaved, so that machine noise
affects them equally. Prints minimum and median of --runs rounds. Decoding and encoding are not
measured. A file without a contract, such as those of segformer_runtimes.py, gets one.
"""

import argparse
import dataclasses
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "deploy" / "python"))
from kseg_run.fit import fit_frame, unfit_class_map
from kseg_run.lane_measures import LaneMeasures
from kseg_run.overlay import draw
from kseg_run.segmenter import Segmenter

from kseg import contract
from kseg.runtime import timing

ROOT = Path(__file__).parents[2]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help=".tflite to run")
    parser.add_argument("--video", help="use its first frame (default: noise)")
    parser.add_argument(
        "--size",
        metavar=("H", "W"),
        type=int,
        nargs=2,
        default=(720, 1280),
        help="height and width of the noise",
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    parser.add_argument("--runs", type=int, default=100, help="rounds (default: 100)")
    args = parser.parse_args()
    cv2.setNumThreads(args.threads)
    runner, frame = open_runner(args), read_frame(args)
    size, fit = runner.contract["input_size"], runner.contract["fit"]
    image = fit_frame(frame, size, fit, 0)
    class_map = runner(frame)
    ids = runner._segment(image, frame.shape[:2])
    measure = LaneMeasures(runner.contract["labels"]["classes"], (0.6, 0.8))
    times_ms = timing.time_interleaved(
        {
            "inference": lambda: runner._segment(image, frame.shape[:2]),
            "fit": lambda: fit_frame(frame, size, fit, 0),
            "unfit": lambda: unfit_class_map(ids, frame.shape[:2], fit),
            "draw": lambda: cv2.cvtColor(
                draw(frame, class_map, runner.contract), cv2.COLOR_RGB2BGR
            ),
            "measure": lambda: measure(class_map),
        },
        rounds=args.runs,
        seconds=600,
    )
    times_ms["headless: fit, unfit, measure"] = sum(
        times_ms[name] for name in ("fit", "unfit", "measure")
    )
    times_ms["overlays: fit, unfit, draw"] = sum(
        times_ms[name] for name in ("fit", "unfit", "draw")
    )
    print(
        f"frame {frame.shape[0]}x{frame.shape[1]}, input {size[0]}x{size[1]}; minimum and median, "
        "in ms and as a share of inference"
    )
    inference_ms = times_ms["inference"]
    for name, values in times_ms.items():
        minimum, median = values.min(), np.median(values)
        print(
            f"{name:30s} {minimum:7.2f} {median:7.2f}   {minimum / inference_ms.min():6.1%} "
            f"{np.median(values / inference_ms):6.1%}"
        )
    return 0


def open_runner(args):
    """Returns a Segmenter; a file without a contract gets the golden model's, with its own size."""
    tflite = Path(args.model).read_bytes()
    if contract.extract(tflite) is not None:
        return Segmenter(args.model, args.threads)
    import ai_edge_litert.interpreter as litert

    details = litert.Interpreter(model_content=tflite).get_input_details()[0]
    terms = contract.read(ROOT / "tests" / "golden" / "model.tflite")
    terms = dataclasses.replace(terms, input_size=tuple(details["shape"][1:3].tolist()))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(contract.append_checksum(contract.embed(tflite, terms)))
        return Segmenter(path, args.threads)


def read_frame(args):
    if not args.video:
        return np.random.default_rng(0).integers(0, 256, (*args.size, 3), dtype=np.uint8)
    frame = cv2.VideoCapture(args.video).read()[1]
    return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


if __name__ == "__main__":
    sys.exit(main())
