"""python -m kseg.evaluate: IoU, boundary IoU, precision and recall of a run, with overlays."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kseg import published_models
from kseg.errors import run, user_path
from kseg.visualize.percent import percent_cell

if TYPE_CHECKING:
    import numpy as np

EXAMPLES = """examples:
  python -m kseg.evaluate runs/demo
  python -m kseg.evaluate runs/demo --split test --overlays 20
  python -m kseg.evaluate runs/demo --position-baseline
  python -m kseg.evaluate lanes --data data/bdd100k        a published model

Writes RUN/evaluation-SPLIT.json and RUN/overlays-SPLIT/*.png, which show image, ground truth and
prediction. --out chooses another folder than RUN; for a published model, the default is the current
folder.

The position baseline predicts the same class map for every frame: at each pixel, the most frequent
class of the training split. It shows which score is possible without looking at the image.
"""

_HEADINGS = {
    "mean_iou": "mean IoU",
    "pixel_accuracy": "pixel accuracy",
    "drivable_iou": "drivable IoU (two classes)",
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m kseg.evaluate",
        description="Evaluates the best weights of a run on a split of its data set.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "run",
        metavar="RUN",
        nargs="?",
        default="runs/demo",
        help=published_models.RUN_HELP + " (default: runs/demo)",
    )
    parser.add_argument(
        "--split", default="val", help="split to evaluate: train, val or test (default: val)"
    )
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="data set to evaluate on, with the same classes (default: that of the run)",
    )
    parser.add_argument("--out", metavar="DIR", help="output folder (default: RUN)")
    parser.add_argument(
        "--overlays",
        type=int,
        default=8,
        metavar="N",
        help="number of frames to draw, spread evenly over the split (default: 8)",
    )
    parser.add_argument(
        "--position-baseline",
        action="store_true",
        help="also score the position baseline (explained below)",
    )
    parser.add_argument(
        "--require-gpu", action="store_true", help="fail if there is no GPU to evaluate on"
    )
    return evaluate(parser.parse_args(argv))


def evaluate(args: argparse.Namespace) -> int:
    """Runs the command. Returns its exit code."""
    from kseg import files, run_folder
    from kseg.manifest import resizing

    folder = published_models.find_run(args.run)
    run_folder.read_run(folder)  # Bad input fails here, before the model is built.
    published_models.check_data(folder, args.data)
    out = Path(args.out) if args.out else published_models.output_folder(folder)
    from kseg.runtime import backend_devices

    backend_devices.announce("evaluation", require_gpu=args.require_gpu)
    import numpy as np

    from kseg import trained_model
    from kseg.data import pipeline
    from kseg.evaluation import boundary
    from kseg.evaluation.scores import compute_scores, confusion_matrix
    from kseg.models import cost

    model, config, labels = trained_model.load(folder)
    config = dataclasses.replace(config, data=args.data or config.data)
    manifest, _ = pipeline.open_split(config, args.split, labels)
    frames = pipeline.labelled_frames(config, args.split)
    total = manifest.splits[args.split].examples
    with user_path(out):
        out.mkdir(exist_ok=True)
    files.check_writable(out)
    overlays = out / f"overlays-{args.split}"
    drawn = _evenly_spaced(total, args.overlays)
    batches = math.ceil(total / config.batch_size)
    path = out / f"evaluation-{args.split}.json"
    _remove_earlier(overlays, path)
    confusion, borders, names = _score_model(model, frames, batches, labels, overlays, drawn)
    results = {"model": compute_scores(confusion, labels) | boundary.scores(borders, labels)}
    if args.position_baseline:
        train = pipeline.labelled_frames(config, "train")
        class_map = most_frequent_classes(train, len(labels.classes))
        baseline = np.zeros_like(confusion)
        for batch in frames:
            truth = batch["mask"].numpy()
            predicted = np.broadcast_to(class_map, truth.shape)
            baseline += confusion_matrix(truth, predicted, len(labels.classes))
        results["position only"] = compute_scores(baseline, labels)
    counted = f"{total} frames{resizing(manifest, config.size)}"
    _print_table(results, f"{args.run} on {config.data}, {args.split}: {counted}")
    _print_classes(results["model"], labels)
    report = {
        "run": str(args.run),
        "data": config.data,
        "split": args.split,
        "frames": total,
        "parameters": model.count_params(),
        "gflops": 2 * cost.multiply_adds(model) / 1e9,
        **results,
        "confusion": confusion.tolist(),
        "overlays": names,
    }
    files.write_text(path, json.dumps(report, indent=1, allow_nan=False) + "\n")
    print(f"scores in {path}" + (f", overlays in {overlays}" if args.overlays else ""))
    return 0


def _evenly_spaced(total: int, count: int) -> set[int]:
    """Returns `count` evenly spaced frame numbers of 0..total-1."""
    count = min(count, total)
    return {round(i * (total - 1) / max(1, count - 1)) for i in range(count)}


def _remove_earlier(overlays, path):
    """Removes the overlays that an earlier evaluation has recorded: of other weights or data."""
    try:
        names = json.loads(path.read_text())["overlays"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    for name in names:
        (overlays / name).unlink(missing_ok=True)


def _score_model(model, frames, batches, labels, overlays, drawn):
    """Returns confusion matrix, boundary counts and the names of the overlays.

    Writes an overlay of each frame in `drawn`.
    """
    import numpy as np
    from rich.progress import track

    from kseg.evaluation import boundary
    from kseg.evaluation.scores import confusion_matrix
    from kseg.visualize.images import write_image
    from kseg.visualize.overlay import side_by_side

    if drawn:
        with user_path(overlays):
            overlays.mkdir(exist_ok=True)
    confusion, borders, number, names = 0, 0, 0, []
    for batch in track(frames, "evaluating", total=batches):
        predicted = np.argmax(model.predict_on_batch(batch["image"].numpy()), axis=-1).astype(
            np.uint8
        )
        truth = batch["mask"].numpy().astype(np.uint8)
        confusion = confusion + confusion_matrix(truth, predicted, len(labels.classes))
        for i, key in enumerate(batch["key"].numpy()):
            borders = borders + boundary.counts(truth[i], predicted[i], len(labels.classes))
            if number in drawn:
                image = batch["image"][i].numpy().astype(np.uint8)
                panels = side_by_side(image, truth[i], predicted[i], labels)
                names.append(f"{key.decode()}.png")
                write_image(overlays / names[-1], panels)
            number += 1
    return confusion, borders, names


def most_frequent_classes(frames: Iterable[dict], num_classes: int) -> np.ndarray:
    """Returns (H, W) uint8: the most frequent class at each pixel over the masks of all batches."""
    import numpy as np

    counts = sum(
        np.stack([(batch["mask"].numpy() == c).sum(axis=0) for c in range(num_classes)])
        for batch in frames
    )
    return np.argmax(counts, axis=0).astype(np.uint8)


def _print_table(results, title):
    from rich.console import Console
    from rich.table import Table

    table = Table("%", title=title)
    for column in results:
        table.add_column(column, justify="right")
    for name in (n for n in results["model"] if n in _HEADINGS or n.startswith("iou/")):
        heading = _HEADINGS.get(name, f"IoU {name.removeprefix('iou/')}")
        table.add_row(heading, *(percent_cell(values[name]) for values in results.values()))
    Console().print(table)


def _print_classes(scores, labels):
    from rich.console import Console
    from rich.table import Table

    table = Table(title="model, % by class")
    table.add_column("")
    measures = ("iou", "boundary_iou", "precision", "recall", "f1")
    for measure in measures:
        table.add_column(measure.replace("_iou", " IoU").replace("iou", "IoU"), justify="right")
    for name in labels.names:
        table.add_row(name, *(percent_cell(scores[f"{measure}/{name}"]) for measure in measures))
    table.add_section()
    table.add_row(
        "mean", percent_cell(scores["mean_iou"]), percent_cell(scores["mean_boundary_iou"])
    )
    Console().print(table)


if __name__ == "__main__":
    sys.exit(run(main))
