"""python -m kseg.export --tflite: a run -> a .tflite that was proved to answer as the run does."""

import argparse
import json
import sys
from pathlib import Path

from kseg.errors import InputError, run

# Pixels on which the file must name the same class as the Keras model.
AGREEMENT = {"fp32": 0.999, "fp16": 0.995}

EXAMPLES = """examples:
  python -m kseg.export runs/demo --tflite
  python -m kseg.export runs/demo --tflite --precision fp16 --out road.tflite

The file takes raw RGB (1, H, W, 3) uint8 and answers a class map (1, H, W) uint8; its contract
(size, classes, colours, fit, measured accuracy) lies inside. FILE.report.json has the checks.

exit codes: 0 right, 2 bad input, 3 the file does not answer as the model does: it is kept as
FILE.rejected.tflite
"""


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m kseg.export",
        description="Converts a run for the car and checks the file on labelled frames.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "run", metavar="RUN", nargs="?", default="runs/demo", help="run folder (default: runs/demo)"
    )
    parser.add_argument(
        "--tflite", action="store_true", required=True, help="the format (the only one so far)"
    )
    parser.add_argument("--precision", choices=AGREEMENT, default="fp32", help="of the weights")
    parser.add_argument("--out", metavar="FILE", help="default: RUN/model-PRECISION.tflite")
    parser.add_argument(
        "--data", metavar="DIR", help="data set to check on (default: the run's own)"
    )
    parser.add_argument("--split", default="val", help="split to check on (default: val)")
    parser.add_argument("--frames", type=int, default=100, help="frames to check on (default: 100)")
    return export(parser.parse_args(argv))


def export(args):
    """Runs the command. Returns its exit code."""
    import dataclasses

    from kseg import checkpoints

    if args.frames < 1:
        raise InputError(f"--frames {args.frames}: expected at least 1")
    checkpoints.read_run(args.run)  # Fails on bad input before the model is built.

    from kseg import contract, data
    from kseg.edge import convert, lint, parity

    out = Path(args.out or Path(args.run) / f"model-{args.precision}.tflite")
    if out.suffix != ".tflite" or not out.parent.is_dir():
        raise InputError(f"--out {out}: expected NAME.tflite in a folder that exists")
    model, config, labels = checkpoints.load(args.run)
    checked_on = dataclasses.replace(config, data=args.data or config.data)
    whole, _ = data.open_split(checked_on, args.split, labels)
    count = min(args.frames, whole.splits[args.split].examples)
    frames = data.labelled_frames(checked_on, args.split).unbatch().take(count).batch(1)
    print(f"converting {args.run} ({config.model}, {args.precision}) ...", flush=True)
    tflite = convert.to_tflite(model, args.precision)
    print(
        f"checking the file on {count} frames of {checked_on.data} ({args.split}) ...", flush=True
    )
    measured = parity.compare(model, tflite, frames, labels)
    tflite = contract.embed(tflite, describe(args, config, labels, whole.dataset, measured))
    found = lint.problems(tflite)
    passed = measured["pixel_agreement"] >= AGREEMENT[args.precision] and not found
    written = out if passed else out.with_suffix(".rejected.tflite")
    partial = written.with_name(written.name + ".partial")
    partial.write_bytes(tflite)
    partial.replace(written)
    report = {
        "file": written.name,
        "passed": passed,
        "bytes": len(tflite),
        "agreement_limit": AGREEMENT[args.precision],
        "problems": found,
        "operators": dict(sorted(lint.operators(tflite).items())),
        **measured,
    }
    checkpoints.write(
        f"{written}.report.json", json.dumps(report, indent=1, allow_nan=False) + "\n"
    )
    _print_report(report, written)
    return 0 if passed else 3


def describe(args, config, labels, checked_on, measured):
    """Returns the Contract of a run's file, measured on the data set named `checked_on`."""
    import kseg
    from kseg import contract, preprocess

    return contract.Contract(
        model=config.model,
        precision=args.precision,
        input_size=config.size,
        input_dtype="uint8",
        channel_order="RGB",
        value_range=(0, 255),
        fit=config.fit,
        pad_value=preprocess.PAD_VALUE,
        output_kind="class_map",
        output_dtype="uint8",
        output_stride=1,
        labels=labels.to_dict(),
        dataset=labels.name,
        config_hash=config.hash(),
        kseg_version=kseg.__version__,
        metrics={
            "data": checked_on,
            "split": args.split,
            "frames": measured["frames"],
            "pixel_agreement": measured["pixel_agreement"],
            **measured["tflite"],
        },
    )


def _print_report(report, written):
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{written}: {report['bytes'] / 1e6:.2f} MB")
    for column in ("", "mean IoU", "drivable IoU", "pixel accuracy"):
        table.add_column(column, justify="right" if column else "left")
    for name in ("keras", "tflite"):
        values = report[name]
        cells = [values["mean_iou"], values.get("drivable_iou"), values["pixel_accuracy"]]
        table.add_row(name, *("-" if v is None else f"{100 * v:.2f}" for v in cells))
    Console().print(table)
    print(
        f"pixel agreement {100 * report['pixel_agreement']:.3f} % on {report['frames']} frames "
        f"(limit {100 * report['agreement_limit']:.1f} %), {report['latency_ms']:.1f} ms a frame "
        "on one thread of this CPU; not verified on a GPU"
    )
    for problem in report["problems"]:
        print(f"problem: {problem}")
    print(f"{'passed' if report['passed'] else 'REJECTED'}: {written}")


if __name__ == "__main__":
    sys.exit(run(main))
