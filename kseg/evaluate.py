"""python -m kseg.evaluate: IoU, boundary IoU, precision and recall of a run, with pictures."""

import argparse
import json
import math
import sys
from pathlib import Path

from kseg.errors import run

EXAMPLES = """examples:
  python -m kseg.evaluate runs/demo
  python -m kseg.evaluate runs/demo --split test --overlays 20
  python -m kseg.evaluate runs/demo --position-baseline

Writes RUN/evaluation-SPLIT.json and RUN/overlays-SPLIT/*.png (image, truth, prediction), to another
folder by --out.
The position baseline answers every frame with the class most frequent at each pixel of the
training split: what can be had without looking at the picture.
"""


_HEADINGS = {
    "mean_iou": "mean IoU",
    "pixel_accuracy": "pixel accuracy",
    "drivable_iou": "drivable or not, IoU",
}


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m kseg.evaluate",
        description="Scores a run on a split of its data set.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "run", metavar="RUN", nargs="?", default="runs/demo", help="run folder (default: runs/demo)"
    )
    parser.add_argument("--split", default="val", help="train, val or test (default: val)")
    parser.add_argument("--data", metavar="DIR", help="another data set with the same classes")
    parser.add_argument("--out", metavar="DIR", help="folder of what is written (default: RUN)")
    parser.add_argument(
        "--overlays", type=int, default=8, metavar="N", help="pictures to write (default: 8)"
    )
    parser.add_argument(
        "--position-baseline", action="store_true", help="score it beside the model"
    )
    return evaluate(parser.parse_args(argv))


def evaluate(args):
    """Runs the command. Returns its exit code."""
    from kseg import files, run_folder, trained_model

    run_folder.read_run(args.run)  # Fails on bad input before the model is built.
    import dataclasses

    from kseg.data import pipeline
    from kseg.evaluation import boundary
    from kseg.evaluation.scores import compute_scores, confusion_matrix
    from kseg.models import cost

    out = Path(args.out or args.run)
    model, config, labels = trained_model.load(args.run)
    config = dataclasses.replace(config, data=args.data or config.data)
    manifest, _ = pipeline.open_split(config, args.split, labels)
    frames = pipeline.labelled_frames(config, args.split)
    total = manifest.splits[args.split].examples
    out.mkdir(exist_ok=True)
    pictures = out / f"overlays-{args.split}"
    chosen = _spread(total, args.overlays)
    batches = math.ceil(total / config.batch_size)
    confusion, borders = _score_model(model, frames, batches, labels, pictures, chosen)
    results = {"model": compute_scores(confusion, labels) | boundary.scores(borders, labels)}
    if args.position_baseline:
        modes = position_modes(pipeline.labelled_frames(config, "train"), len(labels.classes))
        confusion_baseline = sum(
            confusion_matrix(batch["mask"].numpy(), _repeat(modes, batch), len(labels.classes))
            for batch in frames
        )
        results["position only"] = compute_scores(confusion_baseline, labels)
    _print_table(results, f"{args.run} on {config.data}, {args.split}: {total} frames")
    _print_classes(results["model"], labels)
    report = {
        "data": config.data,
        "split": args.split,
        "frames": total,
        "parameters": model.count_params(),
        "gflops": 2 * cost.multiply_adds(model) / 1e9,
        **results,
        "confusion": confusion.tolist(),
    }
    path = out / f"evaluation-{args.split}.json"
    files.write_text(path, json.dumps(report, indent=1, allow_nan=False) + "\n")
    print(f"numbers in {path}" + (f", pictures in {pictures}" if args.overlays else ""))
    return 0


def _spread(total, count):
    """Returns `count` frame numbers spread evenly over 0..total-1, as a set."""
    count = min(count, total)
    return {round(i * (total - 1) / max(1, count - 1)) for i in range(count)}


def _score_model(model, frames, batches, labels, pictures, chosen):
    """Returns confusion matrix and boundary counts; writes a picture of each frame in `chosen`."""
    import numpy as np
    from rich.progress import track

    from kseg.evaluation import boundary
    from kseg.evaluation.scores import confusion_matrix
    from kseg.visualize.overlay import side_by_side, write

    if chosen:
        pictures.mkdir(exist_ok=True)
    confusion, borders, number = 0, 0, 0
    for batch in track(frames, "evaluating", total=batches):
        predicted = np.argmax(model.predict_on_batch(batch["image"]), axis=-1).astype(np.uint8)
        truth = batch["mask"].numpy().astype(np.uint8)
        confusion = confusion + confusion_matrix(truth, predicted, len(labels.classes))
        for i, key in enumerate(batch["key"].numpy()):
            borders = borders + boundary.counts(truth[i], predicted[i], len(labels.classes))
            if number in chosen:
                image = batch["image"][i].numpy().astype(np.uint8)
                picture = side_by_side(image, truth[i], predicted[i], labels)
                write(pictures / f"{key.decode()}.png", picture)
            number += 1
    return confusion, borders


def position_modes(frames, num_classes):
    """Returns (H, W) uint8: the class most frequent at each pixel over the frames' masks."""
    import numpy as np

    counts = 0
    for batch in frames:
        masks = batch["mask"].numpy()
        counts = counts + np.stack([(masks == c).sum(axis=0) for c in range(num_classes)])
    return counts.argmax(axis=0).astype(np.uint8)


def _repeat(class_map, batch):
    import numpy as np

    return np.broadcast_to(class_map, batch["mask"].shape)


def _print_table(results, title):
    from rich.console import Console
    from rich.table import Table

    table = Table("%", title=title)
    for row in results:
        table.add_column(row, justify="right")
    for name in (n for n in results["model"] if n in _HEADINGS or n.startswith("iou/")):
        heading = _HEADINGS.get(name, f"IoU {name.removeprefix('iou/')}")
        table.add_row(heading, *(_percent(values[name]) for values in results.values()))
    Console().print(table)


def _print_classes(scores, labels):
    from rich.console import Console
    from rich.table import Table

    table = Table(title="model, by class")
    table.add_column("")
    kinds = ("iou", "boundary_iou", "precision", "recall", "f1")
    for kind in kinds:
        table.add_column(kind.replace("_iou", " IoU").replace("iou", "IoU"), justify="right")
    for name in labels.names:
        table.add_row(name, *(_percent(scores[f"{kind}/{name}"]) for kind in kinds))
    table.add_section()
    table.add_row("mean", _percent(scores["mean_iou"]), _percent(scores["mean_boundary_iou"]))
    Console().print(table)


def _percent(score):
    return "-" if score is None else f"{100 * score:.2f}"


if __name__ == "__main__":
    sys.exit(run(main))
