"""python -m kseg.export --tflite --onnx: converts a run and verifies each file against it."""

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

from kseg import files, published_models
from kseg.errors import InputError, run
from kseg.export.profiles import ONNX, PRECISIONS, PROFILES, Profile, Target

EXAMPLES = """examples:
  python -m kseg.export runs/demo --tflite
  python -m kseg.export runs/demo --tflite --precision fp16 --out road.tflite
  python -m kseg.export runs/demo --tflite --profile cpu gpu --precision fp32 fp16 --out for-the-car
  python -m kseg.export runs/demo --tflite --precision int8 --calibration 200
  python -m kseg.export runs/demo --tflite --profile gpu-classic --size 288 512
  python -m kseg.export runs/demo --onnx --precision fp32 fp16        for TensorRT and CUDA
  python -m kseg.export lanes --tflite                       the file that comes with kseg
  python -m kseg.export lanes --tflite --data data/bdd100k   converts and verifies lanes-fp32.tflite

Input: raw RGB (1, H, W, 3), uint8 or float32. Output: a class map (1, H, W) uint8, or logits
(1, H, W, classes) float32. The file contains its contract: size, classes, colours, fit, measured
accuracy. FILE.report.json has the results of all checks; export_report.json lists those of all
files in the folder, export_report.html shows them with the worst frames.

exit codes: 0 all files passed, 2 bad input, 3 a file was rejected: it differs too much from the
model or its target cannot run it; it is kept as FILE.rejected.tflite (.onnx)
"""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m kseg.export",
        description="Converts a trained run to .tflite or .onnx and verifies the files on labelled "
        "frames.",
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
        "--tflite", action="store_true", help="write .tflite, for LiteRT: phones, Raspberry Pi, PCs"
    )
    parser.add_argument(
        "--onnx",
        action="store_true",
        help="write .onnx in fp32 or fp16, for NVIDIA's GPUs by ONNX Runtime and TensorRT: Jetson",
    )
    targets = "; ".join(f"{p.name}: {p.runtime}" for p in PROFILES.values())
    parser.add_argument(
        "--profile", nargs="+", choices=PROFILES, help=f"of --tflite. {targets} (default: cpu)"
    )
    parser.add_argument(
        "--precision",
        nargs="+",
        choices=PRECISIONS,
        help="fp16: float16 weights; int8: 8-bit weights and activations; int8-dynamic: 8-bit "
        "weights, activations quantized at run time; int16x8: 16-bit activations and 8-bit "
        "weights, where int8 loses too much accuracy, slow on CPUs (default: fp32)",
    )
    parser.add_argument(
        "--size",
        nargs=2,
        type=int,
        metavar=("H", "W"),
        help="input size (default: that of the run)",
    )
    parser.add_argument(
        "--output",
        choices=("class-map", "logits"),
        help="what the file returns (default: that of the profile)",
    )
    parser.add_argument(
        "--out",
        metavar="PATH",
        help="FILE.tflite, FILE.onnx, or a folder for several files (default: RUN; for a published "
        "model the current folder)",
    )
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="data set to verify and calibrate on (default: that of the run)",
    )
    parser.add_argument("--split", help="split to verify on (default: val)")
    parser.add_argument(
        "--frames", type=int, metavar="N", help="frames to verify on (default: 100)"
    )
    parser.add_argument(
        "--calibration",
        type=int,
        metavar="N",
        help="training frames to calibrate int8 and int16x8 on (default: 100)",
    )
    parser.add_argument(
        "--verify-gpu",
        action=argparse.BooleanOptionalAction,
        help="also run files for GPU profiles on LiteRT's GPU accelerator (default: if there is a "
        "Vulkan device)",
    )
    parser.add_argument(
        "--gpu-frames",
        type=int,
        metavar="N",
        help="frames to run on the GPU (default: 8)",
    )
    parser.add_argument(
        "--allow-loss",
        type=float,
        metavar="POINTS",
        help="accept files that lose up to POINTS of IoU, whatever their pixel agreement; recorded "
        "in the contract",
    )
    args = parser.parse_args(argv)
    if not args.tflite and not args.onnx:
        parser.error("give --tflite, --onnx, or both")
    return export(args)


def export(args: argparse.Namespace) -> int:
    """Runs the command. Returns its exit code."""
    import dataclasses

    from kseg import run_folder

    for name in ("frames", "calibration", "gpu_frames"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise InputError(f"--{name.replace('_', '-')} {value}: expected at least 1")
    if args.allow_loss is not None and args.allow_loss < 0:
        raise InputError(f"--allow-loss {args.allow_loss:g}: expected points of IoU, 0 or more")
    folder = published_models.find_run(args.run)
    if published_models.is_published(folder) and not args.data:
        return _copy_published(folder, args)
    args.profile, args.precision = args.profile or ["cpu"], args.precision or ["fp32"]
    if not args.tflite and args.profile != ["cpu"]:
        raise InputError(f"--profile {' '.join(args.profile)}: is of --tflite; add it")
    targets = plan(args)
    _refuse_unused_flags(targets, args)
    for parent in {target.path.parent for target in targets}:
        if parent.is_dir():  # Else it is made, in a folder that exists.
            files.check_writable(parent)
    trained, labels = run_folder.read_run(folder)
    size = tuple(args.size) if args.size else trained.size
    config = dataclasses.replace(trained, size=size, data=args.data or trained.data)

    from kseg.runtime import backend_devices

    backend_devices.announce("the Keras model")
    from kseg import trained_model
    from kseg.data import pipeline
    from kseg.export import verification
    from kseg.export.model_converter import ModelConverter

    split = args.split or "val"
    manifest, _ = pipeline.open_split(config, split, labels)
    checks = verification.Checks(
        config=config,
        labels=labels,
        split=split,
        frames=args.frames or 100,
        gpu_frames=args.gpu_frames or 8,
        verify_gpu=args.verify_gpu,
        allowed_loss=args.allow_loss,
    )
    weights = files.sha256(folder / run_folder.BEST)
    model, _, _ = trained_model.load(folder, size)
    verification.check_targets(targets, args.output, model, checks)
    converter = ModelConverter(
        model,
        config,
        labels,
        calibration_frames=args.calibration or 100,
        allowed_loss=args.allow_loss,
    )
    converted = {}
    for target in targets:
        print(f"converting {args.run} ({config.model}) to {target.path.name} ...", flush=True)
        converted[target] = converter.convert(target.profile, target.precision, args.output)
    print(f"verifying on frames of {config.data} ({split}) ...", flush=True)
    reports = verification.verify(
        model,
        converted,
        checks,
        config_hash=run_folder.config_hash(folder),
        weights=weights,
        dataset=manifest.dataset,
    )
    _print_reports(reports)
    return 0 if all(report["passed"] for report in reports) else 3


def _copy_published(folder, args):
    """Copies the verified .tflite of a published model to --out or the current folder."""
    changes = ("profile", "precision", "size", "output", "onnx")
    checks = ("split", "frames", "calibration", "verify_gpu", "gpu_frames", "allow_loss")
    if any(getattr(args, name) not in (None, False) for name in changes + checks):
        # Another file must be verified, as this one to be verified again, and that needs labels.
        published_models.check_data(folder, args.data)
    source = folder / f"{folder.name}.tflite"
    out = Path(args.out or published_models.output_folder(folder))
    target = out if out.suffix == ".tflite" else out / source.name
    if not target.parent.is_dir():
        raise InputError(f"--out {out}: no folder {target.parent}")
    with files.atomic_write(target) as partial:
        shutil.copyfile(source, partial)
    print(f"{target}: the verified file that comes with kseg; --data converts another")
    return 0


def _refuse_unused_flags(targets, args):
    """Raises InputError for a flag about checks or precisions that none of the files has."""
    on_gpu = any(target.profile.operators for target in targets)
    calibrated = any(target.precision in ("int8", "int16x8") for target in targets)
    for flag, value, is_used, needs in (
        ("--verify-gpu", args.verify_gpu, on_gpu, "--profile gpu, gpu-classic or gpu-gl"),
        ("--gpu-frames", args.gpu_frames, on_gpu, "--profile gpu, gpu-classic or gpu-gl"),
        ("--calibration", args.calibration, calibrated, "--precision int8 or int16x8"),
    ):
        if value and not is_used:
            raise InputError(f"{flag}: of no use to the files that are written; add {needs}")


def plan(args: argparse.Namespace) -> list[Target]:
    """Returns the files to write. Raises InputError for pairs of flags that make no sense."""
    targets = []
    profiles = [PROFILES[name] for name in args.profile] if args.tflite else []
    if args.onnx:
        profiles.append(ONNX)
    pairs = dict.fromkeys((p, q) for p in profiles for q in args.precision)
    for profile, precision in pairs:
        if profile is ONNX and precision not in profile.precisions:
            raise InputError(
                f"--onnx --precision {precision}: use {' or '.join(profile.precisions)}, or "
                f"{precision} with --tflite in a call of its own"
            )
        if precision not in profile.precisions:
            raise InputError(
                f"--profile {profile.name} --precision {precision}: GPUs compute in float, so "
                f"int8 is slower there; use {' or '.join(profile.precisions)}, or {precision} "
                "with --profile cpu"
            )
        targets.append(Target(profile, precision, Path(_file_name(profile, precision, args))))
    folder = published_models.find_run(args.run)
    out = Path(args.out) if args.out else published_models.output_folder(folder)
    if out.suffix in (".tflite", ".onnx"):
        if len(targets) > 1:
            raise InputError(f"--out {out}: the flags give {len(targets)} files; name a folder")
        if out.suffix != targets[0].path.suffix:
            raise InputError(f"--out {out}: the flags give a {targets[0].path.suffix} file")
        if not out.parent.is_dir():
            raise InputError(f"--out {out}: no folder {out.parent}")
        return [targets[0]._replace(path=out)]
    if (out.suffix and not out.is_dir()) or not out.parent.is_dir() or out.is_file():
        raise InputError(
            f"--out {out}: expected NAME.tflite, NAME.onnx or a folder, in an existing folder"
        )
    return [target._replace(path=out / target.path) for target in targets]


def _file_name(profile: Profile, precision: str, args: argparse.Namespace) -> str:
    """model-fp32.tflite for a CPU; model-gpu-fp16-logits-288x512.tflite; lanes-fp32.tflite."""
    folder = published_models.find_run(args.run)
    name = folder.name if published_models.is_published(folder) else "model"
    output = args.output if args.output != profile.outputs[0] else ""
    size = "{}x{}".format(*args.size) if args.size else ""
    words = [name, profile.name, precision, output, size]
    stem = "-".join(word for word in words if word and word not in ("cpu", ONNX.name))
    return stem + (".onnx" if profile is ONNX else ".tflite")


def _print_reports(reports: list[dict[str, Any]]) -> None:
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
        "agreement: labelled pixels with the same class as in Keras, on a GPU the same as on the "
        "CPU; ms: median on one thread of this CPU"
    )
    for report in reports:
        for line in report["notes"] + [f"problem: {p}" for p in report["problems"]]:
            print(f"{report['profile']} {report['precision']}: {line}")
        print(f"{'passed' if report['passed'] else 'REJECTED'}: {report['path']}")


def _scores(scores: dict[str, Any]) -> list[str]:
    values = (scores["mean_iou"], scores.get("drivable_iou"))
    return ["-" if value is None else f"{100 * value:.2f}" for value in values]


if __name__ == "__main__":
    sys.exit(run(main))
