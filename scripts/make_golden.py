"""Makes tests/golden: a tiny trained .tflite, frames, and what every runner must answer to them.

    python scripts/make_golden.py     minutes; frames come out the same each time, weights do not

Runners of any language are held to golden.json: `input` to the bit, `class_map` up to `tolerance`
(the share of pixels that may differ, because machines add floats up in different orders). `cases`
are for `model`, of profile cpu in fp32, which profile gpu shares; `profiles` has the files of the
other forms, each with one case of its own.
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
# The other forms that a runner meets: file, what makes it, tolerance. Integers are rounded alike
# everywhere, but what is rounded was added up in float.
PROFILES = [
    ("model-fp16.tflite", ["--profile", "cpu", "--precision", "fp16"], TOLERANCE),
    ("model-int8.tflite", ["--profile", "cpu", "--precision", "int8"], 0.01),
    ("model-gpu-classic-fp32.tflite", ["--profile", "gpu-classic"], TOLERANCE),
]
LIMIT_BYTES = 1_000_000


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        run = train_model(folder)
        shutil.rmtree(GOLDEN, ignore_errors=True)
        GOLDEN.mkdir()
        shutil.copy(run / "model-fp32.tflite", GOLDEN / "model.tflite")
        for name, _, _ in PROFILES:
            shutil.copy(run / name, GOLDEN / name)
        cut_frames(folder / "demo" / "images" / "100k" / "val")
        answer(folder)
    size = sum(p.stat().st_size for p in GOLDEN.iterdir())
    print(f"{GOLDEN}: {size} bytes")
    return 0 if size < LIMIT_BYTES else f"more than {LIMIT_BYTES} bytes"


def train_model(folder):
    """Trains a U-Net of 2 channels on demo frames. Returns the run with its .tflite files."""
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
    for flags in ([], *(flags for _, flags, _ in PROFILES)):
        argv = [str(run), "--tflite", "--frames", "12", "--no-verify-gpu", *flags]
        ok = ok and export.main(argv) == 0
    if not ok:
        sys.exit("no model")
    return run


def cut_frames(images):
    for path, (name, top, left, height, width) in zip(
        sorted(images.glob("*.jpg")), CUTS, strict=False
    ):
        frame = cv2.imread(str(path))[top : top + height, left : left + width]
        write(f"{name}.png", frame)


def answer(folder):
    """Writes what deploy/python/run.py makes of every case, and golden.json."""
    cases = [answer_case(folder, "model.tflite", name, fit) for name, fit in CASES]
    profiles = [
        {"model": file, "tolerance": tolerance, "cases": [answer_case(folder, file, *CASES[0])]}
        for file, _, tolerance in PROFILES
    ]
    document = {
        "model": "model.tflite",
        "tolerance": TOLERANCE,
        "cases": cases,
        "profiles": profiles,
    }
    (GOLDEN / "golden.json").write_text(json.dumps(document, indent=1) + "\n")


def answer_case(folder, model, name, fit):
    """Writes the input and the class map of one frame. Returns the case."""
    from kseg import contract

    sys.path.insert(0, str(ROOT / "deploy" / "python"))
    import run

    tflite, whole = (GOLDEN / model).read_bytes(), contract.read(GOLDEN / model)
    path = folder / f"{fit}-{model}"
    path.write_bytes(contract.seal(contract.embed(tflite, dataclasses.replace(whole, fit=fit))))
    frame = cv2.imread(str(GOLDEN / f"{name}.png"), cv2.IMREAD_COLOR_RGB)
    form = model.removeprefix("model").removesuffix(".tflite")
    case = {
        "frame": f"{name}.png",
        "fit": fit,
        "input": f"{name}-{fit}-input.png",
        "class_map": f"{name}-{fit}-class-map{form}.png",
    }
    fitted = run.fit_frame(frame, SIZE, fit, whole.pad_value)
    write(case["input"], cv2.cvtColor(fitted, cv2.COLOR_RGB2BGR))
    write(case["class_map"], run.Runner(path, 1)(frame))
    return case


def write(name, image):
    cv2.imwrite(str(GOLDEN / name), image, [cv2.IMWRITE_PNG_COMPRESSION, 9])


if __name__ == "__main__":
    sys.exit(main())
