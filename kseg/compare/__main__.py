"""python -m kseg.compare: trains, measures and exports several models for one table."""

import argparse
import dataclasses
import sys
from pathlib import Path

from kseg import files, presets
from kseg.compare import chart, child_process, plan, steps, table
from kseg.config import Config
from kseg.errors import InputError, run
from kseg.training import history

EXAMPLES = """examples:
  python -m kseg.compare --preset course --data data/course       the course's five models
  python -m kseg.compare --preset course --data data/course --models unet \\
      fcn_resnet50:encoder_weights=imagenet deeplab_v3_plus_resnet50:encoder_weights=imagenet \\
      pspnet_resnet50:encoder_weights=imagenet segformer_b3:encoder_weights=mit-b3.weights.h5
                                 the same from pretrained encoders; kseg.import_weights makes MiT's
  python -m kseg.compare --preset camvid --out comparisons/camvid --models fcn_mobilenet_v2 \\
      unet:decoder_channels=16 segformer_b0:learning_rate=1e-3,clip_norm=1
  python -m kseg.compare --models edge=segformer_b0_edge slow=segformer_b0_edge:learning_rate=1e-4
  python -m kseg.compare --preset camvid --ablation loss --model unet --decoder-channels 16
  python -m kseg.compare --runs runs/demo old=/mnt/runs/demo --out comparisons/demo

Each model is trained as kseg.train would, one after another, in OUT/NAME; evaluated on the split
test, or val where the data has none; exported (cpu, fp32); and at last all files are timed in turns
in one process. The flags of kseg.train hold for all rows, what follows a model's colon for its row.
--runs trains nothing and writes nothing into the runs named: results go to OUT/NAME.

OUT gets comparison.md, comparison.csv, comparison.json and comparison.png. The same command
continues an interrupted comparison, and does again what failed or what has new weights or data;
all that is done is left alone. done.json says what that is; without it all is measured again.

exit codes: 0 right, 1 a row failed (the table says why, the others are in it), 2 bad input
"""

BUSY = (
    "another kseg.compare, or a training that it started, is running here; wait for it, stop it, "
    "or choose another --out"
)


def main(argv=None):
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
        help="rows: [NAME=]MODEL[:KEY=VALUE,...], KEY one of config.json's (default: the course's, "
        f"{', '.join(plan.COURSE_MODELS)})",
    )
    kinds = "; ".join(f"{kind}: {', '.join(rows)}" for kind, rows in plan.ABLATIONS.items())
    rows.add_argument("--ablation", choices=plan.ABLATIONS, help=f"rows of one --model: {kinds}")
    rows.add_argument("--runs", nargs="+", metavar="RUN", help="rows: [NAME=]RUN, runs that exist")
    parser.add_argument("--out", metavar="DIR", help="default: comparisons/PRESET[-ABLATION], runs")
    parser.add_argument("--split", help="split to measure on (default: test, or val without it)")
    parser.add_argument(
        "--threads", type=int, default=1, help="CPU threads for the latency (default: 1)"
    )
    for flag, what in (("save-steps", "a checkpoint"), ("devices", "devices for each batch")):
        parser.add_argument(f"--{flag}", type=int, metavar="N", help=f"{what}, as for kseg.train")
    parser.add_argument("--dry-run", action="store_true", help="print the rows and do nothing")
    presets.add_flags(parser)
    return compare(parser.parse_args(argv))


def compare(args):
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
    out.mkdir(parents=True, exist_ok=True)
    with files.lock(out, BUSY) as lock:
        work = steps.Steps(
            out, split, threads=args.threads, training=_training_flags(args), lock=lock
        )
        try:
            work.check(rows)
        except child_process.Failed as error:
            if error.code != 2:  # Else its line is on the terminal already.
                print(f"error: the models cannot be built: {error}", file=sys.stderr)
            return error.code if error.code == 2 else 1
        told = measure(rows, work)
    table.show(told)
    print(f"table and picture in {out}: comparison.md, .csv, .json, .png")
    return 1 if any(row["status"] == "failed" for row in told) else 0


def plan_rows(args, out):
    """Returns the plan.Rows that the flags ask for. Raises InputError."""
    if args.runs:
        _refuse_flags_of_training(args)
        return plan.from_runs(args.runs, out, args.data)
    config = presets.resolve(args)
    if args.ablation:
        return plan.from_ablation(args.ablation, config, out)
    if args.model:
        raise InputError(f"--model {args.model}: name the models of a comparison by --models")
    return plan.from_models(args.models or plan.COURSE_MODELS, config, out)


def measure(rows, work):
    """Does all steps of all rows. Returns their dicts; writes them to OUT after each row."""
    told = [table.opened(row, work.split) for row in rows]
    for number, (row, known) in enumerate(zip(rows, told, strict=True), 1):
        _heading(f"{number} of {len(rows)}: {row.name}")
        _measure_row(row, known, work)
        table.save(work.out, told)
    ready = [number for number, known in enumerate(told) if known["status"] == "waiting"]
    if ready:
        _heading("latency of all")
        _time(rows, told, ready, work)
    table.save(work.out, told)
    chart.draw(told, work.out / "comparison.png")
    return told


def _measure_row(row, known, work):
    """Fills in what is known of one row, up to the first step that fails."""
    step = "training"
    try:
        if row.trains:
            work.train(row)
        known |= table.trained(row)
        step = "evaluation"
        known |= table.evaluated(work.evaluate(row))
        step = "export"
        known |= table.exported(work.export(row))
    except child_process.Failed as error:
        _fail(known, step, error)


def _time(rows, told, ready, work):
    try:
        report = work.time([rows[number] for number in ready])
    except child_process.Failed as error:
        for number in ready:
            _fail(told[number], "timing", error)
        return
    for place, number in enumerate(ready):
        told[number] |= table.timed(report, place) | {"status": "done"}


def _fail(known, step, error):
    known |= {"status": "failed", "why": f"{step}: {error}"}
    print(f"{known['name']} failed: {known['why']}", file=sys.stderr)


def _default_out(args):
    name = "runs" if args.runs else args.preset + f"-{args.ablation}" * bool(args.ablation)
    return f"comparisons/{name}"


def _refuse_flags_of_training(args):
    names = [spec.name for spec in dataclasses.fields(Config) if spec.name != "data"]
    given = [name for name in ["config", *names, "save_steps", "devices"] if _is_given(args, name)]
    if given:
        flags = ", ".join("--" + name.replace("_", "-") for name in given)
        raise InputError(f"{flags}: --runs takes runs as they were trained; leave it out")


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

    shown = Table(title=title)
    for heading in ("row", "model", "settings of its own", "epochs trained"):
        shown.add_column(heading, overflow="fold")
    for row, own in zip(rows, plan.own_settings(rows), strict=True):
        trained = f"{len(history.read(row.run))} of {row.config.epochs}"
        shown.add_row(row.name, row.config.model, own, trained)
    Console().print(shown)


def _heading(text):
    from rich.console import Console

    Console().rule(text)


if __name__ == "__main__":
    sys.exit(run(main))
