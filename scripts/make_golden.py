"""Makes tests/golden: tiny .tflite files of every form, frames, and the expected class maps.

    python scripts/make_golden.py     takes minutes; frames are reproducible, weights need not be

golden.json, with which runners of every language are compared:

model, tolerance, cases   the fp32 file for CPUs, with every kind of resize and every fit
forms                     further files, each with a tolerance and cases of its own: the precisions
                          and profiles of kseg.export, all from one training run, and graphs without
                          weights that show what a runner does around a graph. With `replace`, the
                          form is the file with [old, new] replaced and a new checksum
refused                   inputs that runners must refuse: `model`, the fitted `input`, the `error`
damaged                   the file that lists what must be refused; written by hand

In a case, `input` is the fitted frame, bit-exact. The graph gets exactly these values (0 to 255)
as `input_dtype`, in the shape (1, height, width, 3). `class_map` may differ in the share
`tolerance` of the pixels, because machines sum floats in different orders; two runners on one
machine must agree.

The graphs without weights: tensor-DTYPE.tflite returns its input modulo 3: red in the upper third
of the rows, green in the middle, blue below. logits-padded.tflite returns red, green, blue and 1e9;
the last channel is not a class. logits-not-finite.tflite returns red, green and 0 / blue, and
class-map-guard.tflite red modulo 4: both have pixels without a class, so runners refuse the frame.

damaged.json: how to change `model`, and the expected error: "FILE: " followed by `error`, in which
* stands for words that differ between languages. `bytes` replaces the file; `keep` truncates it at
that byte; `append` is added at the end; `flip` inverts the lowest bit of that byte; `replace`,
[old, new] of equal length, is applied everywhere, with a new checksum. Negative `keep` and `flip`
count from the end.
"""

import dataclasses
import json
import shutil
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / "tests" / "golden"
SIZE = (72, 128)
# Name, top, left, height, width of the crop from a validation frame. They cover each kind of
# resize: area average by a fraction, bilinear upscaling, area average by 2.
CROPS = [
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
EXPORTS = [
    ["--profile", "cpu", "--precision", "fp32", "fp16", "int8", "int8-dynamic"],
    ["--profile", "gpu", "gpu-classic", "--precision", "fp16"],
    ["--precision", "int8", "--output", "logits", "--out", "model-logits-int8.tflite"],
]
FORMS = [
    "model-fp16.tflite",
    "model-int8.tflite",
    "model-int8-dynamic.tflite",
    "model-gpu-classic-fp16.tflite",
    "model-logits-int8.tflite",
]
# Profiles cpu and gpu share their graphs, so the gpu file is not stored (a tenth of the set).
CPU_AND_GPU_FILE = ("model-fp16.tflite", "model-gpu-fp16.tflite")
GPU_REPLACE = ['"profile": "cpu"', '"profile": "gpu"']
# int8 rounds: a small float difference can change a value by a full step.
TOLERANCES = {"fp32": 0.001, "fp16": 0.001, "int8": 0.01, "int8-dynamic": 0.01}
# The graphs without weights: they sum nothing, so their tolerance is 0.
WEIGHTLESS = ["tensor-uint8.tflite", "tensor-float32.tflite", "logits-padded.tflite"]
# Those whose output names no class at some pixels, and the error.
NO_CLASS = {
    "logits-not-finite.tflite": "the model's logits are not finite at {} pixels",
    "class-map-guard.tflite": "the model predicts no class at {} pixels (its logits are not "
    "finite, or the device computes wrongly)",
}
DAMAGED = "damaged.json"
LIMIT_BYTES = 700_000


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        exported = train_model(folder)
        for path in GOLDEN.iterdir():
            if path.name != DAMAGED:
                path.unlink()
        shutil.copy(exported / "model-fp32.tflite", GOLDEN / "model.tflite")
        for name in FORMS:
            shutil.copy(exported / name, GOLDEN / name)
        check_same_graph(*(exported / name for name in CPU_AND_GPU_FILE))
        write_weightless_graphs()
        crop_frames(folder / "demo" / "images" / "100k" / "val")
        write_document(folder)
    size = sum(p.stat().st_size for p in GOLDEN.iterdir())
    print(f"{GOLDEN}: {size} bytes")
    return 0 if size < LIMIT_BYTES else f"more than {LIMIT_BYTES} bytes"


def train_model(folder):
    """Trains a U-Net of 2 channels on demo frames. Returns the folder of its .tflite files."""
    from kseg.config import Config
    from kseg.export import __main__ as export
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
    for flags in EXPORTS:
        flags = [str(run / flag) if flag.endswith(".tflite") else flag for flag in flags]
        argv = [str(run), "--tflite", "--frames", "12", "--no-verify-gpu", *flags]
        ok = ok and export.main(argv) == 0
    if not ok:
        sys.exit("the model could not be made")
    return run


def check_same_graph(on_cpu, on_gpu):
    """Exits unless both files are the same except for their contracts."""
    from kseg import contract

    gpu_contract = contract.read(on_gpu)
    first, second = (contract.embed(path.read_bytes(), gpu_contract) for path in (on_cpu, on_gpu))
    if first != second:
        sys.exit(f"{on_cpu.name} and {on_gpu.name} differ in more than their contracts")


def write_weightless_graphs():
    """Writes the graphs without weights, with the contract of the trained one."""
    import tensorflow as tf

    from kseg import contract

    def tensor(image):
        third = SIZE[0] // 3
        rows = [image[:, third * i : third * (i + 1), :, i] for i in range(3)]
        # In float: GPUs and TFLite have no modulo of uint8.
        rows = tf.cast(tf.concat(rows, axis=1), tf.float32)
        return tf.cast(tf.math.floormod(rows, 3), tf.uint8)

    def padded(image):
        # As export does it: drivers ignore the constant of PADV2.
        kernel = np.pad(np.eye(3, dtype=np.float32), [(0, 0), (0, 1)])[None, None]
        return tf.nn.conv2d(image, kernel, 1, "SAME") + [0.0, 0.0, 0.0, 1e9]

    def not_finite(image):
        return tf.concat([image[..., :2], 0 / image[..., 2:]], axis=-1)

    def guard(image):
        return tf.cast(tf.math.floormod(tf.cast(image[..., 0], tf.float32), 4), tf.uint8)

    original = contract.read(GOLDEN / "model.tflite")
    logits = {"output_kind": "logits", "output_dtype": "float32"}
    graphs = [
        ("uint8", tensor, {}),
        ("float32", tensor, {}),
        ("float32", padded, logits),
        ("float32", not_finite, logits),
        ("uint8", guard, {}),
    ]
    for name, (dtype, function, changes) in zip([*WEIGHTLESS, *NO_CLASS], graphs, strict=True):
        image = tf.TensorSpec((1, *SIZE, 3), dtype, name="image")
        concrete = tf.function(function, input_signature=[image]).get_concrete_function()
        tflite = tf.lite.TFLiteConverter.from_concrete_functions([concrete]).convert()
        changed = dataclasses.replace(
            original, model="none", input_dtype=dtype, metrics={}, **changes
        )
        (GOLDEN / name).write_bytes(contract.append_checksum(contract.embed(tflite, changed)))


def crop_frames(images):
    """Writes the crops of the first validation frames."""
    for path, (name, top, left, height, width) in zip(
        sorted(images.glob("*.jpg")), CROPS, strict=False
    ):
        frame = cv2.imread(str(path))[top : top + height, left : left + width]
        write(f"{name}.png", frame)


def write_document(folder):
    """Writes the Python runner's class map of every case, and golden.json."""
    from kseg import contract

    path = GOLDEN / "model.tflite"
    tflite, original = path.read_bytes(), contract.read(path)
    cases = []
    for name, fit in CASES:
        path = folder / f"{fit}.tflite"
        path.write_bytes(
            contract.append_checksum(contract.embed(tflite, dataclasses.replace(original, fit=fit)))
        )
        cases.append(write_case(path, f"{name}-{fit}", f"{name}.png"))
    document = {
        "model": "model.tflite",
        "tolerance": TOLERANCES[original.precision],
        "cases": cases,
        "forms": [*map(form, FORMS), gpu_form(), *map(form, WEIGHTLESS)],
        "refused": list(map(refused, NO_CLASS)),
        "damaged": DAMAGED,
    }
    (GOLDEN / "golden.json").write_text(json.dumps(document, indent=1) + "\n")


def form(file):
    """Writes the cases of one of the other files. Returns its entry."""
    from kseg import contract

    document, weightless = contract.read(GOLDEN / file), file in WEIGHTLESS
    names = [f"{name}-{fit}" for name, fit in CASES[:2]]
    # Graphs without weights get fitted frames, so that a test can compute their class maps.
    frames = [f"{n}-{fit}-input.png" if weightless else f"{n}.png" for n, fit in CASES[:2]]
    tag = f"-{file.split('-')[0] if weightless else Path(file).stem}"
    path = GOLDEN / file
    return {
        "model": file,
        "profile": document.profile,
        "precision": document.precision,
        "input_dtype": document.input_dtype,
        "output_kind": document.output_kind,
        "tolerance": 0 if weightless else TOLERANCES[document.precision],
        "cases": [write_case(path, *both, tag) for both in zip(names, frames, strict=True)],
    }


def refused(file):
    """Returns the entry of a file whose output names no class at some pixels of the first frame."""
    frame = f"{CASES[0][0]}-{CASES[0][1]}-input.png"
    image = cv2.imread(str(GOLDEN / frame), cv2.IMREAD_COLOR_RGB)
    invalid = image[..., 2] == 0 if file.startswith("logits") else image[..., 0] % 4 == 3
    return {"model": file, "input": frame, "error": NO_CLASS[file].format(int(invalid.sum()))}


def gpu_form():
    """Returns the entry of the gpu file, whose class maps on a CPU are those of the cpu file."""
    entry = form(CPU_AND_GPU_FILE[0])
    return {**entry, "profile": "gpu", "replace": GPU_REPLACE}


def write_case(path, name, frame, tag=""):
    """Writes the input and the class map of one frame. Returns the case."""
    sys.path.insert(0, str(ROOT / "deploy" / "python"))
    import run

    segmenter = run.Segmenter(path, 1)
    document = segmenter.contract
    image = cv2.imread(str(GOLDEN / frame), cv2.IMREAD_COLOR_RGB)
    case = {
        "frame": frame,
        "fit": document["fit"],
        "input": f"{name}-input.png",
        "class_map": f"{name}-class-map{tag}.png",
    }
    fitted = run.fit_frame(image, document["input_size"], document["fit"], document["pad_value"])
    write(case["input"], cv2.cvtColor(fitted, cv2.COLOR_RGB2BGR))
    write(case["class_map"], segmenter(image))
    return case


def write(name, image):
    cv2.imwrite(str(GOLDEN / name), image, [cv2.IMWRITE_PNG_COMPRESSION, 9])


if __name__ == "__main__":
    sys.exit(main())
