"""python -m kseg.report: runs on one HTML page, measured and held against each other."""

import argparse
import sys
from pathlib import Path

from kseg.errors import InputError, run

EXAMPLES = """examples:
  python -m kseg.report runs/demo
  python -m kseg.report runs/deeplab runs/segformer --out deeplab-or-segformer.html
  python -m kseg.report runs/a runs/b --split test --data /mnt/camvid-240x320 --frames 200
  python -m kseg.report runs/bdd100k --scenes bdd100k/labels/det_20/det_val.json

Writes one file that opens from disk and needs nothing else: RUN/report.html, for several runs
report.html here. The best weights of each run go once over the split; counts and answers of each
frame are kept in RUN/report-SPLIT.jsonl, so that an interrupted command goes on where it was and
the next one needs no model. Shown where there are any: exports (RUN/*.tflite.report.json), timings
(RUN/benchmark*.json, and what --benchmark names), the table of kseg.compare (of the folder that RUN
lies in, and what --comparison names), and links to RUN/attention/*.attention.html.

Scenes are known of CamVid, Cityscapes and KITTI by the frames' names, and by --scenes.
"""


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m kseg.report",
        description="Shows runs on one page: scores, curves, confusion, calibration, frames.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", metavar="RUN", nargs="+", help="run folders, of the same classes")
    parser.add_argument("--split", default="val", help="train, val or test (default: val)")
    parser.add_argument("--data", metavar="DIR", help="another place of the data set, for all runs")
    parser.add_argument(
        "--frames", type=int, metavar="N", help="at most so many, evenly spread (default: all)"
    )
    parser.add_argument(
        "--frames-shown", type=int, default=12, metavar="N", help="with pictures (default: 12)"
    )
    parser.add_argument(
        "--scenes", metavar="FILE", help="JSON of frames' attributes, as BDD100K's det_val.json"
    )
    parser.add_argument(
        "--benchmark",
        metavar="FILE",
        nargs="+",
        default=[],
        help="JSON that kseg.benchmark --json wrote",
    )
    parser.add_argument(
        "--comparison",
        metavar="DIR",
        nargs="+",
        default=[],
        help="folder that kseg.compare wrote",
    )
    parser.add_argument("--out", metavar="FILE", help="the page (default: see below)")
    return report(parser.parse_args(argv))


def report(args):
    """Runs the command. Returns its exit code."""
    out = _out(args)
    from kseg import files
    from kseg.report import frame_groups, other_sections, report_page
    from kseg.report.opened_runs import open_runs

    runs = open_runs(args.runs, args.split, args.data)
    attributes = frame_groups.read(args.scenes) if args.scenes else {}
    tables = {  # Fail before the long work.
        "Comparison": other_sections.comparisons(runs, args.comparison),
        "Exports": other_sections.exports(runs),
        "Timings": other_sections.benchmarks(runs, args.benchmark),
        "Attention": other_sections.attention(runs, out),
    }
    measured, shown = _measure(runs, args)
    scenes = frame_groups.scenes(
        measured[0].keys, runs[0].manifest.request.get("source"), attributes
    )
    html = report_page.page(runs, measured, shown, split=args.split, scenes=scenes, tables=tables)
    files.write_text(out, html)
    print(f"page in {out}")
    return 0


def _out(args):
    """Returns the page's path. Raises InputError before any work is done."""
    if args.frames is not None and args.frames < 1:
        raise InputError(f"--frames {args.frames}: expected at least 1")
    if args.frames_shown < 0:
        raise InputError(f"--frames-shown {args.frames_shown}: expected at least 0")
    if args.out is None:
        return Path(args.runs[0], "report.html") if len(args.runs) == 1 else Path("report.html")
    out = Path(args.out)
    if out.is_dir() or not out.absolute().parent.is_dir():
        raise InputError(f"{out}: expected a file name in an existing folder; choose another --out")
    return out


def _measure(runs, args):
    """Returns a Measured for each run, and the frames to show: (kind, number, Answers)."""
    import numpy as np
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    from kseg.report import frame_images, frame_selection, run_scores

    examples = runs[0].manifest.splits[args.split].examples
    every = -(-examples // min(args.frames or examples, examples))
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        measured = []
        for run in runs:
            task = progress.add_task(f"measuring {run.name}", total=-(-examples // every))
            measured.append(
                run_scores.measure(
                    run_scores.Predictor(run.path),
                    run.config,
                    run.labels,
                    args.split,
                    every,
                    lambda count, task=task: progress.advance(task, count),
                )
            )
        _same_frames(runs, measured)
        scores = np.array([m.by_frame(runs[0].labels) for m in measured])
        chosen = frame_selection.choose(scores, measured[0].keys, args.frames_shown)
        numbers = [number for _, number in chosen]
        task = progress.add_task("drawing frames", total=len(runs))
        answers = []
        for run, m in zip(runs, measured, strict=True):
            answers.append(frame_images.answers(m, run.config, args.split, every, numbers))
            progress.advance(task)
    return measured, [(kind, n, [answer[n] for answer in answers]) for kind, n in chosen]


def _same_frames(runs, measured):
    for one, m in zip(runs, measured, strict=True):
        if m.keys != measured[0].keys:
            raise InputError(
                f"{one.path}: its data set {one.config.data} has other frames than "
                f"{runs[0].config.data} of {runs[0].path}; name one for all by --data"
            )


if __name__ == "__main__":
    sys.exit(run(main))
