"""Makes tests/golden: tiny .tflite files of every form, frames, and what every runner must answer.

    python scripts/make_golden.py     minutes; frames come out the same each time, weights need not

Runners of any language are held to golden.json:

model, tolerance, cases   the fp32 file for CPUs, met with every kind of resize and every fit
forms                     what else a runner meets, each with a file, a tolerance and cases of its
                          own: the precisions and profiles of kseg.export, all of one training run,
                          and graphs without weights that show what a runner does around a graph;
                          with `replace` it is the file with [old, new] exchanged and sealed anew
damaged                   the file of what must be refused; written by hand, not by this script

In a case `input` is the fitted frame, to the bit; what the graph is handed are its values as
`input_dtype`, unchanged (0 to 255), in the shape (1, height, width, 3). `class_map` may differ in
the share `tolerance` of the pixels, because machines add floats up in different orders; between two
runners on one machine none may.

The graphs without weights: tensor-DTYPE.tflite answers what it is handed: red in the upper third of
the rows, green in the middle, blue below. logits-padded.tflite answers red, green, blue and 1e9, of
which the last is no class.

damaged.json: what is done to `model`, and the refusal: "FILE: " and `error`, in which * stands for
words of each language's own. `bytes` take its place; it ends at byte `keep`; `append` comes behind
it; the lowest bit of byte `flip` is turned; or `replace`, [old, new] of one length, is done
everywhere and the file sealed anew. `keep` and `flip` below 0 count from the end.
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
# Profiles cpu and gpu share their graphs; a second copy would be a tenth of the golden set.
GPU_TWIN = ("model-fp16.tflite", "model-gpu-fp16.tflite")
GPU_REPLACE = ['"profile": "cpu"', '"profile": "gpu"']
# int8 rounds, so that a float on the edge can move a whole step.
TOLERANCES = {"fp32": 0.001, "fp16": 0.001, "int8": 0.01, "int8-dynamic": 0.01}
# Nothing is added up in the graphs without weights.
PROBES = ["tensor-uint8.tflite", "tensor-float32.tflite", "logits-padded.tflite"]
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
        check_gpu_twin(*(exported / name for name in GPU_TWIN))
        write_probes()
        cut_frames(folder / "demo" / "images" / "100k" / "val")
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
        sys.exit("no model")
    return run


def check_gpu_twin(on_cpu, on_gpu):
    """Ends unless both files are the same but for their contracts."""
    from kseg import contract

    told = contract.read(on_gpu)
    first, second = (contract.embed(path.read_bytes(), told) for path in (on_cpu, on_gpu))
    if first != second:
        sys.exit(f"{on_cpu.name} and {on_gpu.name} differ in more than their contracts")


def write_probes():
    """Writes the graphs without weights, under the contract of the trained one."""
    import tensorflow as tf

    from kseg import contract

    def tensor(image):
        third = SIZE[0] // 3
        rows = [image[:, third * i : third * (i + 1), :, i] for i in range(3)]
        return tf.cast(tf.concat(rows, axis=1), tf.uint8)

    def padded(image):
        return tf.pad(image, [[0, 0], [0, 0], [0, 0], [0, 1]], constant_values=1e9)

    whole = contract.read(GOLDEN / "model.tflite")
    logits = {"output_kind": "logits", "output_dtype": "float32"}
    probes = [("uint8", tensor, {}), ("float32", tensor, {}), ("float32", padded, logits)]
    for name, (dtype, function, changes) in zip(PROBES, probes, strict=True):
        image = tf.TensorSpec((1, *SIZE, 3), dtype, name="image")
        concrete = tf.function(function, input_signature=[image]).get_concrete_function()
        tflite = tf.lite.TFLiteConverter.from_concrete_functions([concrete]).convert()
        told = dataclasses.replace(whole, model="none", input_dtype=dtype, metrics={}, **changes)
        (GOLDEN / name).write_bytes(contract.append_checksum(contract.embed(tflite, told)))


def cut_frames(images):
    for path, (name, top, left, height, width) in zip(
        sorted(images.glob("*.jpg")), CUTS, strict=False
    ):
        frame = cv2.imread(str(path))[top : top + height, left : left + width]
        write(f"{name}.png", frame)


def write_document(folder):
    """Writes what deploy/python/run.py makes of every case, and golden.json."""
    from kseg import contract

    tflite, whole = (GOLDEN / "model.tflite").read_bytes(), contract.read(GOLDEN / "model.tflite")
    cases = []
    for name, fit in CASES:
        path = folder / f"{fit}.tflite"
        path.write_bytes(
            contract.append_checksum(contract.embed(tflite, dataclasses.replace(whole, fit=fit)))
        )
        cases.append(answer(path, f"{name}-{fit}", f"{name}.png"))
    document = {
        "model": "model.tflite",
        "tolerance": TOLERANCES[whole.precision],
        "cases": cases,
        "forms": [*map(form, FORMS), gpu_form(), *map(form, PROBES)],
        "damaged": DAMAGED,
    }
    (GOLDEN / "golden.json").write_text(json.dumps(document, indent=1) + "\n")


def form(file):
    """Writes the answers of one of the other files. Returns its entry."""
    from kseg import contract

    told, probe = contract.read(GOLDEN / file), file in PROBES
    names = [f"{name}-{fit}" for name, fit in CASES[:2]]
    # Of fitted frames: a test can tell by hand what a probe must answer.
    frames = [f"{n}-{fit}-input.png" if probe else f"{n}.png" for n, fit in CASES[:2]]
    tag = f"-{file.split('-')[0] if probe else Path(file).stem}"
    path = GOLDEN / file
    return {
        "model": file,
        "profile": told.profile,
        "precision": told.precision,
        "input_dtype": told.input_dtype,
        "output_kind": told.output_kind,
        "tolerance": 0 if probe else TOLERANCES[told.precision],
        "cases": [answer(path, *both, tag) for both in zip(names, frames, strict=True)],
    }


def gpu_form():
    """The entry of the file that is not there: a CPU's answers are the same."""
    entry = form(GPU_TWIN[0])
    return {**entry, "profile": "gpu", "replace": GPU_REPLACE}


def answer(path, name, frame, tag=""):
    """Writes the input and the class map of one frame. Returns the case."""
    sys.path.insert(0, str(ROOT / "deploy" / "python"))
    import run

    runner = run.Segmenter(path, 1)
    told = runner.contract
    image = cv2.imread(str(GOLDEN / frame), cv2.IMREAD_COLOR_RGB)
    case = {
        "frame": frame,
        "fit": told["fit"],
        "input": f"{name}-input.png",
        "class_map": f"{name}-class-map{tag}.png",
    }
    fitted = run.fit_frame(image, told["input_size"], told["fit"], told["pad_value"])
    write(case["input"], cv2.cvtColor(fitted, cv2.COLOR_RGB2BGR))
    write(case["class_map"], runner(image))
    return case


def write(name, image):
    cv2.imwrite(str(GOLDEN / name), image, [cv2.IMWRITE_PNG_COMPRESSION, 9])


if __name__ == "__main__":
    sys.exit(main())
