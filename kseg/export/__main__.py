"""python -m kseg.export --tflite: a run -> .tflite files that were proved to answer as it does."""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

from kseg.errors import InputError, run
from kseg.export.profiles import PRECISIONS, PROFILES, Profile

EXAMPLES = """examples:
  python -m kseg.export runs/demo --tflite
  python -m kseg.export runs/demo --tflite --precision fp16 --out road.tflite
  python -m kseg.export runs/demo --tflite --profile cpu gpu --precision fp32 fp16 --out for-the-car
  python -m kseg.export runs/demo --tflite --precision int8 --calibration 200
  python -m kseg.export runs/demo --tflite --profile gpu-classic --size 288 512

Files take raw RGB (1, H, W, 3), uint8 or float32, and answer a class map (1, H, W) uint8 or logits
(1, H, W, classes) float32; the contract (size, classes, colours, fit, measured accuracy) lies
inside. FILE.report.json has the checks; export_report.json lists those of all files in the folder,
export_report.html shows them with the worst frames.

exit codes: 0 right, 2 bad input, 3 a file does not answer as the model does, or its target cannot
run it: it is kept as FILE.rejected.tflite
"""


class Target(NamedTuple):
    """One file to be made."""

    profile: Profile
    precision: str
    path: Path


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m kseg.export",
        description="Converts a run for the car and checks the files on labelled frames.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "run", metavar="RUN", nargs="?", default="runs/demo", help="run folder (default: runs/demo)"
    )
    parser.add_argument(
        "--tflite", action="store_true", required=True, help="the format (the only one so far)"
    )
    targets = "; ".join(f"{p.name}: {p.runtime}" for p in PROFILES.values())
    parser.add_argument(
        "--profile", nargs="+", choices=PROFILES, default=["cpu"], help=f"{targets} (default: cpu)"
    )
    parser.add_argument(
        "--precision",
        nargs="+",
        choices=PRECISIONS,
        default=["fp32"],
        help="fp16: of the weights; int8: weights and activations; int8-dynamic: weights, and "
        "activations while it runs; int16x8: activations of 16 bits, weights of 8, for where int8 "
        "loses too much, slow on CPUs (default: fp32)",
    )
    parser.add_argument(
        "--size", nargs=2, type=int, metavar=("H", "W"), help="input size (default: the run's)"
    )
    parser.add_argument("--output", choices=("class-map", "logits"), help="default: the profile's")
    parser.add_argument(
        "--out", metavar="PATH", help="FILE.tflite, or a folder for several (default: RUN)"
    )
    parser.add_argument(
        "--data", metavar="DIR", help="data set to check and calibrate on (default: the run's own)"
    )
    parser.add_argument("--split", default="val", help="split to check on (default: val)")
    parser.add_argument("--frames", type=int, default=100, help="frames to check on (default: 100)")
    parser.add_argument(
        "--calibration",
        type=int,
        default=100,
        metavar="N",
        help="training frames that int8 and int16x8 are calibrated on (default: 100)",
    )
    parser.add_argument(
        "--verify-gpu",
        action=argparse.BooleanOptionalAction,
        help="run GPU profiles on LiteRT's accelerator (default: where there is a Vulkan device)",
    )
    parser.add_argument(
        "--gpu-frames", type=int, default=8, metavar="N", help="frames for that (default: 8)"
    )
    parser.add_argument(
        "--allow-loss",
        type=float,
        metavar="POINTS",
        help="accept files that lose up to so many points of IoU, however many pixels agree; the "
        "contract records it",
    )
    return export(parser.parse_args(argv))


def export(args):
    """Runs the command. Returns its exit code."""
    import dataclasses

    from kseg import run_folder, trained_model

    for name in ("frames", "calibration", "gpu_frames"):
        if getattr(args, name) < 1:
            flag = name.replace("_", "-")
            raise InputError(f"--{flag} {getattr(args, name)}: expected at least 1")
    if args.allow_loss is not None and args.allow_loss < 0:
        raise InputError(f"--allow-loss {args.allow_loss:g}: expected points of IoU, 0 or more")
    targets = plan(args)
    trained, labels = run_folder.read_run(args.run)  # Bad input fails before a model is built.
    size = tuple(args.size) if args.size else trained.size
    config = dataclasses.replace(trained, size=size, data=args.data or trained.data)

    from kseg.data import pipeline
    from kseg.export import verify

    manifest, _ = pipeline.open_split(config, args.split, labels)
    checks = verify.Checks(
        split=args.split,
        frames=args.frames,
        calibration=args.calibration,
        gpu_frames=args.gpu_frames,
        verify_gpu=args.verify_gpu,
        allowed_loss=args.allow_loss,
    )
    model, _, _ = trained_model.load(args.run, size)
    prover = verify.ExportVerifier(model, config, labels, checks)
    prover.refuse_unfit(targets, args.output)
    files = {}
    for target in targets:
        print(f"converting {args.run} ({config.model}) to {target.path.name} ...", flush=True)
        files[target] = prover.convert(target.profile, target.precision, args.output)
    print(f"checking on frames of {config.data} ({args.split}) ...", flush=True)
    reports = prover.prove(files, run_folder.config_hash(args.run), manifest.dataset)
    _print(reports)
    return 0 if all(report["passed"] for report in reports) else 3


def plan(args):
    """Returns the Targets that the flags ask for. Raises InputError on pairs that make no sense."""
    targets = []
    pairs = dict.fromkeys((PROFILES[p], q) for p in args.profile for q in args.precision)
    for profile, precision in pairs:
        if precision not in profile.precisions:
            raise InputError(
                f"--profile {profile.name} --precision {precision}: GPUs compute in float, int8 "
                f"is slower there; with it take {' or '.join(profile.precisions)}, and "
                f"{precision} with --profile cpu"
            )
        targets.append(Target(profile, precision, Path(_name(profile, precision, args))))
    out = Path(args.out or args.run)
    if out.suffix == ".tflite":
        if len(targets) > 1:
            raise InputError(f"--out {out}: {len(targets)} files are asked for; name a folder")
        if not out.parent.is_dir():
            raise InputError(f"--out {out}: no folder {out.parent}")
        return [targets[0]._replace(path=out)]
    if (out.suffix and not out.is_dir()) or not out.parent.is_dir() or out.is_file():
        raise InputError(f"--out {out}: expected NAME.tflite, or a folder, in one that exists")
    return [target._replace(path=out / target.path) for target in targets]


def _name(profile, precision, args):
    """model-fp32.tflite for a CPU; model-gpu-fp16-logits-288x512.tflite."""
    output = args.output if args.output != profile.outputs[0] else ""
    size = "{}x{}".format(*args.size) if args.size else ""
    parts = ["model", profile.name, precision, output, size]
    return "-".join(p for p in parts if p and p != "cpu") + ".tflite"


def _print(reports):
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{reports[0]['frames']} frames, %")
    for column in ("", "MB", "mean IoU", "drivable IoU", "agreement", "ms"):
        table.add_column(column, justify="right" if column else "left")
    table.add_row("keras", "", *_scores(reports[0]["keras"]), "", "")
    for report in reports:
        table.add_row(
            f"{report['profile']} {report['precision']}",
            f"{report['bytes'] / 1e6:.2f}",
            *_scores(report["tflite"]),
            f"{100 * report['pixel_agreement']:.3f}",
            f"{report['latency_ms']:.1f}",
        )
        gpu = report["gpu"]
        if gpu["verified"]:
            agreement = f"{100 * gpu['pixel_agreement']:.3f}"
            table.add_row(
                f"  on GPU, {gpu['frames']} frames", "", *_scores(gpu["gpu"]), agreement, ""
            )
            table.add_row("  on CPU, the same", "", *_scores(gpu["cpu"]), "", "")
    Console().print(table)
    print(
        "agreement: pixels on which the file names the model's class, on a GPU the CPU's class; "
        "ms: median, one thread of this CPU"
    )
    for report in reports:
        for line in report["notes"] + [f"problem: {p}" for p in report["problems"]]:
            print(f"{report['profile']} {report['precision']}: {line}")
        print(f"{'passed' if report['passed'] else 'REJECTED'}: {report['path']}")


def _scores(values):
    both = (values["mean_iou"], values.get("drivable_iou"))
    return ["-" if v is None else f"{100 * v:.2f}" for v in both]


if __name__ == "__main__":
    sys.exit(run(main))
