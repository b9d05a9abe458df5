"""Makes tests/golden: a tiny trained .tflite, frames, and what every runner must answer to them.

    python scripts/make_golden.py     minutes; frames come out the same each time, weights do not

Runners of any language are held to golden.json: `input` to the bit, `class_map` up to `tolerance`
(the share of pixels that may differ, because machines add floats up in different orders).
"""

import dataclasses
import json
import shutil
import sys
import tempfile
from pathlib import Path

import cv2

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / "tests" / "golden"
SIZE = (72, 128)
TOLERANCE = 0.001
# Name, top, left, height, width: what is cut out of the validation frames, so that each kind of
# resize is met: area average by a fraction, bilinear upwards, area average by 2.
CUTS = [
    ("fraction", 20, 60, 150, 201),
    ("upwards", 70, 100, 61, 100),
    ("half", 36, 40, 144, 160),
]
CASES = [
    ("fraction", "letterbox"),
    ("upwards", "letterbox"),
    ("half", "letterbox"),
    ("fraction", "stretch"),
    ("fraction", "crop"),
]
LIMIT_BYTES = 300_000


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        tflite = train_model(folder)
        shutil.rmtree(GOLDEN, ignore_errors=True)
        GOLDEN.mkdir()
        shutil.copy(tflite, GOLDEN / "model.tflite")
        cut_frames(folder / "demo" / "images" / "100k" / "val")
        answer(folder)
    size = sum(p.stat().st_size for p in GOLDEN.iterdir())
    print(f"{GOLDEN}: {size} bytes")
    return 0 if size < LIMIT_BYTES else f"more than {LIMIT_BYTES} bytes"


def train_model(folder):
    """Trains a U-Net of 2 channels on demo frames. Returns the path of its fp32 .tflite."""
    from kseg import export
    from kseg.config import Config
    from kseg.train import train
    from tfrecords_tools import build
    from tfrecords_tools.demo.__main__ import main as demo_main

    demo, records, run = folder / "demo", folder / "records", folder / "run"
    frames = ["--train", "96", "--val", "12", "--size", "180", "320"]
    ok = demo_main(["--out", str(demo), *frames]) == 0
    built = ["--source", "bdd100k", "--data", str(demo), "--out", str(records)]
    ok = ok and build.main([*built, "--size", *map(str, SIZE)]) == 0
    config = Config(
        data=str(records),
        size=SIZE,
        model="unet",
        decoder_channels=2,
        batch_size=8,
        epochs=40,
        learning_rate=5e-3,
    )
    ok = ok and train(config, run) == 0
    ok = ok and export.main([str(run), "--tflite", "--frames", "12"]) == 0
    if not ok:
        sys.exit("no model")
    return run / "model-fp32.tflite"


def cut_frames(images):
    for path, (name, top, left, height, width) in zip(
        sorted(images.glob("*.jpg")), CUTS, strict=False
    ):
        frame = cv2.imread(str(path))[top : top + height, left : left + width]
        write(f"{name}.png", frame)


def answer(folder):
    """Writes what deploy/python/run.py makes of every case, and golden.json."""
    from kseg import contract

    sys.path.insert(0, str(ROOT / "deploy" / "python"))
    import run

    tflite, whole = (GOLDEN / "model.tflite").read_bytes(), contract.read(GOLDEN / "model.tflite")
    cases = []
    for name, fit in CASES:
        path = folder / f"{fit}.tflite"
        path.write_bytes(contract.seal(contract.embed(tflite, dataclasses.replace(whole, fit=fit))))
        runner = run.Runner(path, 1)
        frame = cv2.imread(str(GOLDEN / f"{name}.png"), cv2.IMREAD_COLOR_RGB)
        case = {
            "frame": f"{name}.png",
            "fit": fit,
            "input": f"{name}-{fit}-input.png",
            "class_map": f"{name}-{fit}-class-map.png",
        }
        fitted = run.fit_frame(frame, SIZE, fit, whole.pad_value)
        write(case["input"], cv2.cvtColor(fitted, cv2.COLOR_RGB2BGR))
        write(case["class_map"], runner(frame))
        cases.append(case)
    document = {"model": "model.tflite", "tolerance": TOLERANCE, "cases": cases}
    (GOLDEN / "golden.json").write_text(json.dumps(document, indent=1) + "\n")


def write(name, image):
    cv2.imwrite(str(GOLDEN / name), image, [cv2.IMWRITE_PNG_COMPRESSION, 9])


if __name__ == "__main__":
    sys.exit(main())
