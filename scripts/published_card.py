"""Measures a trained run and writes it as a published model: weights, .tflite and card."""

import dataclasses
import json
import shlex
import shutil
import subprocess
from pathlib import Path

import half_weights  # The file beside this one.
import jinja2
import numpy as np

import kseg
from kseg import benchmark, evaluate, files, predict, presets, run_folder, trained_model
from kseg.config import Config
from kseg.data import pipeline
from kseg.errors import InputError
from kseg.evaluation.scores import compute_scores, confusion_matrix
from kseg.export import __main__ as export
from kseg.labels import LabelClass, LabelSet
from kseg.manifest import read_manifest
from kseg.report import frame_groups, run_counts
from kseg.training import history

TEMPLATE = Path(__file__).with_suffix(".md")
VIDEO_SECONDS = 6  # From the start: optical flow costs more than the model.
ROOT = Path(__file__).parent.parent
ROAD_OR_NOT = LabelSet(
    "road or not", (LabelClass("road", (1, 1, 1), True), LabelClass("rest", (0, 0, 0)))
)


def publish(run, out, *, words, data, elsewhere, videos):
    """Writes the folder `out` of a published model. Returns an exit code.

    run: the trained run. words: what the card says that is not measured. data: TFRecord folder that
    scores it. elsewhere: others, on which drivable or not is scored. videos: on which flicker is
    measured.
    """
    name = words["name"]
    work = out.parent / f"{name}-measured"
    work.mkdir(parents=True, exist_ok=True)
    stage_run(run, out)
    tflite = out / f"{name}.tflite"
    flags = ["--profile", "gpu", "--precision", "fp16", "--data", str(data), "--frames", "100000"]
    exported = work / tflite.name
    code = export.main([str(out), "--tflite", *flags, "--out", str(exported)])
    if code:
        return code
    shutil.copyfile(exported, tflite)
    config, labels = run_folder.read_run(out)
    model = trained_model.load(out)[0]
    card = {
        **words,
        "classes": labels.names,
        "model": config.model,
        "size": config.size,
        "parameters": model.count_params(),
        "bytes": {
            "tflite": tflite.stat().st_size,
            "weights": (out / run_folder.BEST).stat().st_size,
        },
        "kseg": kseg.__version__,
        "commit": commit(),
        "training": [*stages(run)],
        "validation": validation(out, config, labels, data, work),
        "elsewhere": [drivable_or_not(model, config, labels, folder) for folder in elsewhere],
        "export": report_of_export(exported),
        "latency": latency(tflite, work),
        "flicker": [flicker(out, video, work) for video in videos],
    }
    files.write_text(out / "card.json", json.dumps(card, indent=1, allow_nan=False) + "\n")
    card = json.loads((out / "card.json").read_text())
    files.write_text(out / "README.md", render(card))
    print(f"{out}: copy it to kseg/published/{name}")
    return 0


def stage_run(run, out):
    """Copies what the commands need of a run, its weights in float16. Paths become names."""
    config, _ = run_folder.read_run(run)
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(run / "labels.json", out / "labels.json")
    half_weights.write(run / run_folder.BEST, out / run_folder.BEST)
    files.write_text(out / "config.json", without_paths(config).to_json())


def without_paths(config):
    """A Config whose data sets and weights are named, not located."""

    def name(text):
        return Path(text).name

    also = tuple(
        shlex.join([name(folder), *others]) for folder, *others in map(shlex.split, config.also)
    )
    return dataclasses.replace(
        config,
        data=name(config.data),
        also=also,
        init=name(config.init),
        encoder_weights=name(config.encoder_weights),
    )


def stages(run):
    """Yields the command and the data of each training that led to a run, the first one first."""
    config, _ = run_folder.read_run(run)
    if config.init != "none":
        if not Path(config.init, "config.json").is_file():
            raise InputError(f"{run}: its first stage {config.init} is gone")
        yield from stages(Path(config.init))
    default, named = presets.demo(), without_paths(config)  # What `kseg train` starts from.
    flags = [
        word
        for field in dataclasses.fields(Config)
        if getattr(named, field.name) != getattr(default, field.name)
        for word in as_flag(field.name, getattr(named, field.name))
    ]
    rows = history.to_numbers(history.read(run))
    yield {
        "run": Path(run).name,
        "command": shlex.join(["kseg", "train", *flags, "--out", Path(run).name]),
        "frames": read_manifest(config.data).splits["train"].examples,
        "epochs": len(rows),
        "best_epoch": int(history.best_row(rows)["epoch"]) + 1,
    }


def as_flag(name, value):
    flag = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return [flag if value else flag.replace("--", "--no-", 1)]
    if name == "also":
        return [word for words in value for word in (flag, *shlex.split(words))]
    return [flag, *map(str, value)] if isinstance(value, tuple) else [flag, f"{value}"]


def validation(folder, config, labels, data, work):
    """Scores on the validation frames: all, by brightness, and of the position baseline."""
    config = dataclasses.replace(config, data=str(data))
    counts = run_counts.count_frames(
        run_counts.Predictor(folder, work), config, labels, "val", 1, lambda _: None
    )

    def group(frames):
        luma = counts.luma[frames]
        return {
            "frames": len(luma),
            "luma": [round(float(luma.min())), round(float(luma.max()))],
            "scores": counts.scores(labels, frames),
        }

    thirds = [frames for _, frames in frame_groups.brightness_thirds(counts.luma)]
    argv = [str(folder), "--data", str(data), "--out", str(work), "--overlays", "0"]
    evaluate.main([*argv, "--position-baseline"])
    evaluated = json.loads((work / "evaluation-val.json").read_text())
    confusion = counts.confusion.sum(axis=0)
    manifest = read_manifest(data)
    drives = {split: set(manifest.splits[split].drives) for split in ("train", "val")}
    return {
        "dataset": manifest.dataset,
        "drives": len(drives["val"]),
        "shared_drives": len(drives["train"] & drives["val"]),
        "size": manifest.size,
        "all": group(slice(None)),
        "darkest": group(thirds[0]),
        "rest": group(np.concatenate(thirds[1:])),
        "position_only": evaluated["position only"],
        "gflops": evaluated["gflops"],
        "confusion": confusion.tolist(),
    }


def drivable_or_not(model, config, labels, data):
    """Scores of "drivable or not" on the validation frames of another data set."""
    config = dataclasses.replace(config, data=str(data))
    manifest = read_manifest(data)
    confusion = np.zeros((2, 2), np.int64)
    for batch in pipeline.labelled_frames(config, "val"):
        predicted = model.predict_on_batch(batch["image"].numpy()).argmax(axis=-1)
        truth = batch["mask"].numpy()
        road = np.where(truth == 255, 255, ~np.isin(truth, manifest.labels.drivable_ids))
        confusion += confusion_matrix(road, ~np.isin(predicted, labels.drivable_ids), 2)
    scores = compute_scores(confusion, ROAD_OR_NOT)
    return {
        "dataset": manifest.dataset,
        "frames": manifest.splits["val"].examples,
        **{key: scores[f"{key}/road"] for key in ("iou", "precision", "recall")},
    }


def report_of_export(tflite):
    report = json.loads(Path(f"{tflite}.report.json").read_text())
    kept = ("frames", "pixel_agreement", "profile", "precision", "keras", "tflite", "gpu")
    return {"commit": commit(), **{key: report[key] for key in kept}}


def latency(tflite, work):
    """The fastest of the timed runs, in ms on one thread of this CPU: others may use it too."""
    benchmark.main([str(tflite), "--json", str(work / "benchmark.json")])
    report = json.loads((work / "benchmark.json").read_text())
    (row,) = report["models"]
    return {
        "cpu": report["machine"]["cpu"],
        "cores": report["machine"]["cores"],
        "load_average": report["machine"]["load_average"],
        "model_ms": row["model"]["min_ms"],
        "frame_ms": row["whole_frame"]["min_ms"],
        "frame_size": report["frame_size"],
    }


def flicker(folder, video, work):
    out = work / "videos"
    flags = ["--flicker", "--seconds", str(VIDEO_SECONDS), "--out", str(out)]
    predict.main([str(folder), str(video), *flags])
    report = json.loads((out / f"{Path(video).stem}.flicker.json").read_text())
    (run,) = report["runs"].values()
    return {
        "video": report["video"],
        "frames": len(run["frames"]) + 1,
        "flicker": run["flicker"],
        "motion_compensated": run["motion_compensated"],
    }


def render(card):
    """Returns the model card, Markdown."""
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["percent"] = lambda value: "-" if value is None else f"{100 * value:.1f}"
    return environment.from_string(TEMPLATE.read_text()).render(card)


def commit():
    argv = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=8"]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()
