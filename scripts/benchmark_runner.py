"""What the car's Python runner does around inference, as a share of inference.

    python scripts/benchmark_runner.py MODEL.tflite [--video VIDEO] [--size 720 1280] [--threads 1]

Frames are the video's first, or noise of --size. Parts alternate, so that the machine's noise hits
all alike; minimum and median of --runs rounds. Decoding and encoding are not counted. A file
without a contract (scripts/benchmark_segformer.py writes such) is given one.
"""

import argparse
import dataclasses
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "deploy" / "python"))
from kseg_run.drawing import draw
from kseg_run.fit import fit_frame, unfit_class_map
from kseg_run.measure import Measure
from kseg_run.model import Runner

from kseg import contract
from kseg.runtime import timing

ROOT = Path(__file__).parent.parent


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--video", help="take its first frame (default: noise)")
    parser.add_argument("--size", type=int, nargs=2, default=(720, 1280), help="of the noise")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=100)
    args = parser.parse_args()
    cv2.setNumThreads(args.threads)
    runner, frame = open_runner(args), read_frame(args)
    size, fit = runner.contract["input_size"], runner.contract["fit"]
    image = fit_frame(frame, size, fit, 0)
    class_map = runner(frame)
    ids = runner._segment(image)
    measure = Measure(runner.contract["labels"]["classes"], (0.6, 0.8))
    times_ms = timing.alternate(
        {
            "inference": lambda: runner._segment(image),
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
    print(f"frame {frame.shape[0]}x{frame.shape[1]}, input {size[0]}x{size[1]}; ms, and share")
    for name, values in times_ms.items():
        low, middle = values.min(), np.median(values)
        of = times_ms["inference"]
        print(
            f"{name:30s} {low:7.2f} {middle:7.2f}   {low / of.min():6.1%} "
            f"{np.median(values / of):6.1%}"
        )
    return 0


def open_runner(args):
    tflite = Path(args.model).read_bytes()
    if contract.extract(tflite) is not None:
        return Runner(args.model, args.threads)
    import ai_edge_litert.interpreter as litert

    details = litert.Interpreter(model_content=tflite).get_input_details()[0]
    told = contract.read(ROOT / "tests" / "golden" / "model.tflite")
    told = dataclasses.replace(told, input_size=tuple(details["shape"][1:3].tolist()))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(contract.append_checksum(contract.embed(tflite, told)))
        return Runner(path, args.threads)


def read_frame(args):
    if not args.video:
        return np.random.default_rng(0).integers(0, 256, (*args.size, 3), dtype=np.uint8)
    frame = cv2.VideoCapture(args.video).read()[1]
    return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


if __name__ == "__main__":
    sys.exit(main())
