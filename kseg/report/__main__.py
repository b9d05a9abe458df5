"""python -m kseg.report: scores and predictions of one or more runs, on one HTML page."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from kseg import published_models
from kseg.errors import InputError, run

EXAMPLES = """examples:
  python -m kseg.report runs/demo
  python -m kseg.report runs/deeplab runs/segformer --out deeplab-or-segformer.html
  python -m kseg.report runs/a runs/b --split test --data /mnt/camvid-240x320 --frames 200
  python -m kseg.report lanes --data data/bdd100k
  python -m kseg.report runs/bdd100k --scenes bdd100k/labels/det_20/det_val.json

Writes one self-contained HTML file: RUN/report.html, or report.html in the current folder for
several runs. The best weights of each run are evaluated once on the split. Counts and predictions
of each frame are cached in RUN/report-SPLIT.jsonl: an interrupted command continues where it
stopped, and the next one needs no model.

Where they exist, the page also shows exports (RUN/*.report.json), timings
(RUN/benchmark*.json and --benchmark), the table of kseg.compare (of the folder that contains RUN,
and of --comparison), and links to RUN/attention/*.attention.html.

For CamVid, Cityscapes and KITTI, the scene is known from the names of the frames; for others, use
--scenes.
"""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m kseg.report",
        description="Shows runs on one page: scores, curves, confusion, failures, frames.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "runs",
        metavar="RUN",
        nargs="+",
        help="run folders, or published models, with the same classes",
    )
    parser.add_argument("--split", default="val", help="train, val or test (default: val)")
    parser.add_argument(
        "--data", metavar="DIR", help="data set for all runs (default: the one of each run)"
    )
    parser.add_argument(
        "--frames",
        type=int,
        metavar="N",
        help="evaluate at most N frames, evenly spaced (default: all)",
    )
    parser.add_argument(
        "--frames-shown",
        type=int,
        default=12,
        metavar="N",
        help="number of frames shown as images (default: 12)",
    )
    parser.add_argument(
        "--failures-shown",
        type=int,
        default=2,
        metavar="N",
        help="number of frames shown as images for each kind of failure (default: 2)",
    )
    parser.add_argument(
        "--scenes",
        metavar="FILE",
        help="JSON file of frame attributes, like BDD100K's det_val.json",
    )
    parser.add_argument(
        "--benchmark",
        metavar="FILE",
        nargs="+",
        default=[],
        help="JSON files written by kseg.benchmark --json",
    )
    parser.add_argument(
        "--comparison",
        metavar="DIR",
        nargs="+",
        default=[],
        help="folders written by kseg.compare",
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="HTML file to write (default: RUN/report.html; for several runs: report.html)",
    )
    return report(parser.parse_args(argv))


def report(args: argparse.Namespace) -> int:
    """Runs the command. Returns its exit code."""
    folders = [published_models.find_run(run) for run in args.runs]
    for folder in folders:
        published_models.check_data(folder, args.data)
    caches = [published_models.output_folder(folder) for folder in folders]
    out = _out(args, caches)
    from kseg import files
    from kseg.report import frame_groups, recorded_results, report_page
    from kseg.report.runs import open_runs

    runs = open_runs(folders, args.split, args.data)
    files.check_writable(out.parent)
    attributes = frame_groups.read_attributes(args.scenes) if args.scenes else {}
    recorded = {  # Read before the long work, because it may fail.
        "comparisons": recorded_results.comparisons(runs, args.comparison),
        "exports": recorded_results.exports(runs),
        "timings": recorded_results.timings(runs, args.benchmark),
        "attention_pages": recorded_results.attention_pages(runs, out),
    }
    counts, shown = _evaluate(runs, caches, args)
    source = runs[0].manifest.request.get("source")
    scenes = list(frame_groups.scene_groups(counts[0].keys, source, attributes))
    html = report_page.page(runs, counts, shown, split=args.split, scenes=scenes, recorded=recorded)
    files.write_text(out, html)
    print(f"page in {out}")
    return 0


def _out(args, folders):
    """Returns the page's path. Raises InputError before any work is done."""
    if args.frames is not None and args.frames < 1:
        raise InputError(f"--frames {args.frames}: expected at least 1")
    if args.frames_shown < 0:
        raise InputError(f"--frames-shown {args.frames_shown}: expected at least 0")
    if args.failures_shown < 0:
        raise InputError(f"--failures-shown {args.failures_shown}: expected at least 0")
    if args.out is None:
        return (folders[0] if len(folders) == 1 else Path()) / "report.html"
    out = Path(args.out)
    if out.is_dir() or not out.absolute().parent.is_dir():
        raise InputError(f"{out}: expected a file name in an existing folder; choose another --out")
    return out


def _evaluate(runs, caches, args):
    """Returns the RunCounts of each run, and the ShownFrames."""
    import numpy as np
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    from kseg.report import (
        failure_sections,
        frame_images,
        frame_sections,
        frame_selection,
        run_counts,
    )

    examples = runs[0].manifest.splits[args.split].examples
    every = -(-examples // min(args.frames or examples, examples))
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        counts = []
        for run, cache in zip(runs, caches, strict=True):
            task = progress.add_task(f"evaluating {run.name}", total=-(-examples // every))
            counts.append(
                run_counts.count_frames(
                    run_counts.Predictor(run.path, cache),
                    run.config,
                    run.labels,
                    args.split,
                    every,
                    lambda count, task=task: progress.advance(task, count),
                )
            )
        _check_same_frames(runs, counts)
        scores = np.array([c.by_frame(runs[0].labels) for c in counts])
        if not np.isfinite(scores).any():
            raise InputError(
                f"{runs[0].config.data}: every pixel of the {scores.shape[1]} frames is ignored; "
                "use more --frames"
            )
        chosen = frame_selection.choose_frames(scores, counts[0].keys, args.frames_shown)
        chosen += failure_sections.choose_failures(
            runs[0].labels, counts, chosen, args.failures_shown
        )
        numbers = [number for _, number in chosen]
        task = progress.add_task("drawing frames", total=len(runs))
        predictions = []
        for run, c in zip(runs, counts, strict=True):
            predictions.append(
                frame_images.load_predictions(c, run.config, args.split, every, numbers)
            )
            progress.advance(task)
    return counts, [
        frame_sections.ShownFrame(kind, number, [each[number] for each in predictions])
        for kind, number in chosen
    ]


def _check_same_frames(runs, counts):
    for each, c in zip(runs, counts, strict=True):
        if c.keys != counts[0].keys:
            raise InputError(
                f"{each.path}: its data set {each.config.data} has other frames than "
                f"{runs[0].config.data} of {runs[0].path}; choose one for all runs with --data"
            )


if __name__ == "__main__":
    sys.exit(run(main))
