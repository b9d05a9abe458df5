"""python -m kseg.compare: trains, evaluates, exports and times several models for one table."""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from kseg import files, presets
from kseg.compare import chart, commands, plan, steps, table
from kseg.config import Config
from kseg.errors import InputError, run, user_path
from kseg.training import history

EXAMPLES = """examples:
  python -m kseg.compare --preset course --data data/course       the five models of the course
  python -m kseg.compare --preset course --data data/course --models unet \\
      fcn_resnet50:encoder_weights=imagenet deeplab_v3_plus_resnet50:encoder_weights=imagenet \\
      pspnet_resnet50:encoder_weights=imagenet segformer_b3:encoder_weights=mit-b3.weights.h5
                 the same with pretrained encoders; kseg.import_weights writes mit-b3.weights.h5
  python -m kseg.compare --preset camvid --out comparisons/camvid --models fcn_mobilenet_v2 \\
      unet:decoder_channels=16 segformer_b0:learning_rate=1e-3,clip_norm=1
  python -m kseg.compare --models edge=segformer_b0_edge slow=segformer_b0_edge:learning_rate=1e-4
  python -m kseg.compare --preset camvid --ablation loss --model unet --decoder-channels 16
  python -m kseg.compare --runs runs/demo old=/mnt/runs/demo --out comparisons/demo

The models are trained one after another, as by kseg.train, each in OUT/NAME. They are evaluated on
the split test, or on val where the data has no test, and exported (cpu, fp32). At the end all files
are timed, interleaved in one process. The flags of kseg.train apply to all rows; settings after a
model's colon apply to its row only. --runs trains nothing and does not write into the given runs:
results go to OUT/NAME.

OUT gets comparison.md, comparison.csv, comparison.json and comparison.png. The same command again
resumes an interrupted comparison. It repeats steps that failed or whose weights or data changed,
and skips the others, as recorded in OUT/done.json.

exit codes: 0 success, 1 a row failed (the table gives the reason and has the other rows),
2 bad input
"""

BUSY = (
    "another kseg.compare, or a training that it started, is running in this folder; wait for it, "
    "stop it, or choose another --out"
)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m kseg.compare",
        description="Trains, evaluates, exports and times several models for one table.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    rows = parser.add_mutually_exclusive_group()
    rows.add_argument(
        "--models",
        nargs="+",
        metavar="MODEL",
        help="models to train, one row each, as [NAME=]MODEL[:KEY=VALUE,...]; KEY is a key of "
        f"config.json (default: the models of the course, {', '.join(plan.COURSE_MODELS)})",
    )
    ablations = "; ".join(f"{kind}: {', '.join(rows)}" for kind, rows in plan.ABLATIONS.items())
    rows.add_argument(
        "--ablation",
        choices=plan.ABLATIONS,
        help=f"train one --model in several variants, one row each ({ablations})",
    )
    rows.add_argument(
        "--runs", nargs="+", metavar="RUN", help="existing runs, one row each, as [NAME=]RUN"
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="output folder (default: comparisons/PRESET[-ABLATION]; with --runs comparisons/runs)",
    )
    parser.add_argument(
        "--split", help="split to evaluate on (default: test, or val if there is no test)"
    )
    parser.add_argument(
        "--threads",
        type=int,
        default=1,
        metavar="N",
        help="CPU threads for the timing (default: 1)",
    )
    parser.add_argument(
        "--save-steps", type=int, metavar="N", help="as for kseg.train: checkpoint every N steps"
    )
    parser.add_argument(
        "--devices", type=int, metavar="N", help="as for kseg.train: devices that share each batch"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print the rows, and train and write nothing"
    )
    presets.add_flags(parser)
    return compare(parser.parse_args(argv))


def compare(args: argparse.Namespace) -> int:
    """Runs the command. Returns its exit code."""
    if args.threads < 1:
        raise InputError(f"--threads {args.threads}: expected at least 1")
    out = Path(args.out or _default_out(args))
    rows = plan_rows(args, out)
    split, frames = plan.choose_split(rows, args.split)
    plan.check_runs(rows)
    _print_plan(rows, f"{out}: measured on {frames} frames of {rows[0].config.data}, {split}")
    if args.dry_run:
        return 0
    with user_path(out):
        out.mkdir(parents=True, exist_ok=True)
    with files.lock(out, BUSY) as lock:
        work = steps.Steps(
            out, split, threads=args.threads, training=_training_flags(args), lock=lock
        )
        try:
            work.check(rows)
        except commands.CommandFailed as error:
            if error.code != 2:  # With code 2, the child has already printed the error.
                print(f"error: the models cannot be built: {error}", file=sys.stderr)
            return error.code if error.code == 2 else 1
        results = measure(rows, work)
    table.show(results)
    print(f"table and chart in {out}: comparison.md, .csv, .json, .png")
    return 1 if any(row["status"] == "failed" for row in results) else 0


def plan_rows(args: argparse.Namespace, out: Path) -> list[plan.Row]:
    """Returns the rows that the flags request. Raises InputError."""
    if args.runs:
        _reject_training_flags(args)
        return plan.from_runs(args.runs, out, args.data)
    config = presets.resolve(args)
    if args.ablation:
        return plan.from_ablation(args.ablation, config, out)
    if args.model:
        raise InputError(f"--model {args.model}: use --models to name the models of a comparison")
    return plan.from_models(args.models or plan.COURSE_MODELS, config, out)


def measure(rows: Sequence[plan.Row], work: steps.Steps) -> list[dict]:
    """Runs all steps of all rows. Returns the rows of the table; saves them after each row."""
    results = [table.new_row(row, work.split) for row in rows]
    for number, (row, result) in enumerate(zip(rows, results, strict=True), 1):
        _heading(f"{number} of {len(rows)}: {row.name}")
        _measure_row(row, result, work)
        table.save(work.out, results)
    ready = [index for index, result in enumerate(results) if result["status"] == "waiting"]
    if ready:
        _heading("latency of all")
        _time_rows(rows, results, ready, work)
    table.save(work.out, results)
    chart.draw(results, work.out / "comparison.png")
    return results


def _measure_row(row, result, work):
    """Fills in the columns of one row, up to the first step that fails."""
    step = "training"
    try:
        if row.trains:
            work.train(row)
        result |= table.training_columns(row)
        step = "evaluation"
        result |= table.evaluation_columns(work.evaluate(row))
        step = "export"
        result |= table.export_columns(work.export(row))
    except commands.CommandFailed as error:
        _mark_failed(result, step, error)


def _time_rows(rows, results, ready, work):
    try:
        report = work.time([rows[index] for index in ready])
    except commands.CommandFailed as error:
        for index in ready:
            _mark_failed(results[index], "timing", error)
        return
    for place, index in enumerate(ready):
        results[index] |= table.timing_columns(report, place) | {"status": "done"}


def _mark_failed(result, step, error):
    result |= {"status": "failed", "why": f"{step}: {error}"}
    print(f"{result['name']} failed: {result['why']}", file=sys.stderr)


def _default_out(args):
    if args.runs:
        return "comparisons/runs"
    preset = args.preset or presets.DEFAULT
    return f"comparisons/{preset}" + f"-{args.ablation}" * bool(args.ablation)


def _reject_training_flags(args):
    names = [spec.name for spec in dataclasses.fields(Config) if spec.name != "data"]
    given = [name for name in ["config", *names, "save_steps", "devices"] if _is_given(args, name)]
    if given:
        flags = ", ".join("--" + name.replace("_", "-") for name in given)
        raise InputError(f"{flags}: does not apply to --runs, which trains nothing; leave it out")


def _is_given(args, name):
    return getattr(args, name) is not None


def _training_flags(args):
    flags = []
    for name in ("save_steps", "devices"):
        if _is_given(args, name):
            flags += ["--" + name.replace("_", "-"), getattr(args, name)]
    return flags


def _print_plan(rows, title):
    from rich.console import Console
    from rich.table import Table

    plan_table = Table(title=title)
    for heading in ("row", "model", "settings of its own", "epochs trained"):
        plan_table.add_column(heading, overflow="fold")
    for row, own in zip(rows, plan.own_settings(rows), strict=True):
        trained = f"{len(history.read(row.run))} of {row.config.epochs}"
        plan_table.add_row(row.name, row.config.model, own, trained)
    Console().print(plan_table)


def _heading(text):
    from rich.console import Console

    Console().rule(text)


if __name__ == "__main__":
    sys.exit(run(main))
