"""Stage "real": trains DeepLabV3+-R50 and SegFormer-B0 as the course does, and evaluates them.

OUT/runs/MODEL/ gets each run, its weights in float16, for kseg.evaluate, kseg.export and
kseg.report elsewhere.
"""

import csv
import json
import shutil
import signal
import time
from pathlib import Path

import half_weights

from benchmark_gpu.run import Run
from kseg import run_folder

SIZE = (180, 320)  # Of the course; records of another size are fitted to it.
# One after the other. The model that XLA compiles faster comes first.
MODELS = ("deeplab_v3_plus_resnet50", "segformer_b0")
EVALUATION_S = 35
SECOND_MODEL_S = 200  # The second model is not started with less time.
FILES = ("config.json", "labels.json", "data.json", "history.csv", "curves.png")


def stage(run: Run) -> None:
    data = run.tfrecords(SIZE)
    if not data:
        run.results.end("skipped", "no TFRecords; name some with --data")
        return
    size = json.loads((data / "manifest.json").read_text())["size"] if run.tiny else SIZE
    for name in MODELS[-1:] if run.tiny else MODELS:
        if name != MODELS[0] and run.seconds_left() < SECOND_MODEL_S and not run.tiny:
            run.results.note(f"{name}: not started, no time left")
            continue
        arguments = ["--preset", "course", "--model", name, "--data", data, "--size", *size]
        arguments += ["--epochs", 1 if run.tiny else run.epochs, "--out", run.work / name]
        train(run, name, arguments)
        evaluate(run, name)
        keep(run.work / name, run.out / "runs" / name)


def train(run: Run, name: str, arguments: list) -> None:
    """Trains until the end or until only the evaluation has time, then interrupts kseg.train."""
    child = run.start(f"train-{name}", "kseg.train", *arguments, "--no-tensorboard")
    try:
        if not _wait(child, run.deadline - EVALUATION_S):
            child.process.send_signal(signal.SIGINT)
            _wait(child, time.monotonic() + 10)
            run.results.note(f"{name}: interrupted, no time left; its best epoch is kept")
        elif child.process.returncode:
            run.results.problem(f"kseg.train of {name}: {child.failure()}")
    finally:
        child.stop()


def evaluate(run: Run, name: str) -> None:
    """Evaluates the best epoch, and adds the row of a model that has finished an epoch."""
    out = run.work / name
    if not (out / "history.csv").is_file():
        run.results.note(f"{name}: no epoch finished")
        return
    row = run.results.row(model=name, **_training(out))
    if not (out / run_folder.BEST).is_file():
        return
    child = run.start(f"evaluate-{name}", "kseg.evaluate", out)
    try:
        if not _wait(child, run.deadline) or child.process.returncode:
            run.results.problem(f"kseg.evaluate of {name}: {child.failure()}")
            return
    finally:
        child.stop()
    scores = json.loads((out / "evaluation-val.json").read_text())["model"]
    keys = ("mean_iou", "drivable_iou")
    run.results.update(row, **{f"evaluated {key}": scores[key] for key in keys if key in scores})


def _wait(child, deadline):
    """Returns whether the child ended before the deadline."""
    while child.process.poll() is None:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def _training(out):
    with (out / "history.csv").open(newline="") as file:
        history = list(csv.DictReader(file))
    return {
        "epochs": len(history),
        "seconds": sum(float(row["seconds"]) for row in history),
        "seconds of the last epoch": float(history[-1]["seconds"]),
        "first loss": float(history[0]["loss"]),
        "last loss": float(history[-1]["loss"]),
        "best val mean IoU": max(float(row["val_mean_iou"]) for row in history),
    }


def keep(run: Path, out: Path) -> None:
    """Copies a run without its checkpoints; weights become float16, which Keras loads as usual."""
    out.mkdir(parents=True)
    for name in (*FILES, "evaluation-val.json"):
        if (run / name).is_file():
            shutil.copy(run / name, out)
    if (run / run_folder.BEST).is_file():
        half_weights.write(run / run_folder.BEST, out / run_folder.BEST)
