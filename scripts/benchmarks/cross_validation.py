"""Compares training recipes on several random splits of one data set, drives kept together.

    python scripts/benchmarks/cross_validation.py --data BDD100K --out cv --size 96 160 \
        --flags "--preset camvid --loss cross_entropy+dice" \
        --trial "plain" --trial "no flip" --no-flip --trial "weather" --weather 0.5

A small validation split cannot rank recipes. Each trial is trained and validated once per split
(--repeats), on the same splits as all other trials. Prints the mean scores, and each split's mean
IoU. What follows the name of a trial are flags of kseg.train, after those of --flags. The same
command continues after an interruption; trials may be added. A trial whose flags have changed stops
it, as kseg.train does: give it another name.
"""

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np

from kseg.errors import InputError, run

COLUMNS = {
    "mean IoU": "mean_iou",
    "drivable": "drivable_iou",
    "direct": "iou/direct",
    "alternative": "iou/alternative",
    "boundary": "mean_boundary_iou",
}


def main():
    own, *trials = split_trials(sys.argv[1:])
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", metavar="BDD100K", required=True)
    parser.add_argument("--out", metavar="DIR", type=Path, required=True)
    parser.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), default=(96, 160))
    parser.add_argument("--flags", default="", help="flags of kseg.train for all trials")
    parser.add_argument("--repeats", type=int, default=2, help="number of splits (default: 2)")
    parser.add_argument("--train-share", type=float, default=0.5, help="(default: 0.5)")
    parser.add_argument("--trial", help="name and flags of a trial; may be given several times")
    args = parser.parse_args(own)
    if not trials:
        raise InputError("--trial: name at least one recipe")
    names = [folder_name(name) for name, *_ in trials]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"--trial {twice}: two trials have this name")
    if args.repeats < 1:
        raise InputError(f"--repeats {args.repeats}: expected at least 1")
    shares = [args.train_share, round(1 - args.train_share, 6), 0]
    for repeat in range(args.repeats):
        command(
            "tfrecords_tools.build --source bdd100k --seed",
            *(repeat, "--data", args.data, "--out", args.out / f"records-{repeat}"),
            *("--size", *args.size, "--split", *shares),
        )
    print(f"| trial | {' | '.join(COLUMNS)} | mean IoU of the splits |")
    print("|---" * (len(COLUMNS) + 2) + "|")
    for name, *flags in trials:
        scores = [trained(args, number, name, flags)["model"] for number in range(args.repeats)]
        means = [100 * np.mean([each[key] for each in scores]) for key in COLUMNS.values()]
        splits = ", ".join(f"{100 * each['mean_iou']:.1f}" for each in scores)
        print(f"| {name} | {' | '.join(f'{mean:.1f}' for mean in means)} | {splits} |", flush=True)


def split_trials(arguments):
    """Divides a command line at each --trial: [arguments before, [name, *flags], ...]."""
    parts = [[]]
    for argument in arguments:
        if argument == "--trial":
            parts.append([])
        else:
            parts[-1].append(argument)
    if not all(parts[1:]):
        raise InputError("--trial needs a name")
    return parts


def folder_name(name):
    return name.replace(" ", "-").replace("/", "-")


def trained(args, repeat, name, flags):
    """Trains and validates one trial on one split. Returns the evaluation."""
    data = args.out / f"records-{repeat}"
    folder = args.out / f"{folder_name(name)}-{repeat}"
    result = folder / "evaluation-val.json"
    common = ["--size", *args.size, "--no-tensorboard", "--seed", repeat, *shlex.split(args.flags)]
    # Also for a trained run: kseg.train then has nothing to do, or stops at other flags.
    command("kseg.train --data", data, "--out", folder, *common, *flags)
    if not result.exists():
        command("kseg.evaluate", folder, "--overlays", 0)
    return json.loads(result.read_text())


def command(module, *arguments):
    """Runs a command of kseg, its output in stderr. Exits with its code if that is not 0."""
    argv = [sys.executable, "-m", *module.split(), *map(str, arguments)]
    print("$", shlex.join(argv[1:]), file=sys.stderr, flush=True)
    if code := subprocess.run(argv, stdout=sys.stderr, check=False).returncode:
        sys.exit(code)


if __name__ == "__main__":
    sys.exit(run(main))
