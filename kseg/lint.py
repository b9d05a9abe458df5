"""python -m kseg.lint FILE.tflite --profile gpu: which operators of a file a target runs."""

import argparse
import sys
from pathlib import Path
from typing import Any

from kseg import onnx_file, published_models
from kseg.errors import run, user_path
from kseg.export.profiles import PROFILES

EXAMPLES = """examples:
  python -m kseg.lint runs/demo/model-fp32.tflite --profile gpu
  python -m kseg.lint others.tflite --profile gpu-classic gpu-gl
  python -m kseg.lint others.onnx                                 TensorRT's operators

Works on any .tflite or .onnx, not only on files from kseg.export. It compares the file with tables
of the operators that each delegate (LiteRT f67457790) and TensorRT 8.4 support, and runs nothing;
to run a file on a delegate, use `python -m kseg.export --verify-gpu`.

exit codes: 0 the target runs all operators, 2 bad input, 3 problems found
"""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m kseg.lint",
        description="Predicts which operators of a file a target runs; lists the others with "
        "remedies.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help="any .tflite or .onnx, or a published model")
    parser.add_argument(
        "--profile",
        nargs="+",
        choices=PROFILES,
        default=["gpu"],
        help="; ".join(f"{p.name}: {p.runtime}" for p in PROFILES.values()) + " (default: gpu)",
    )
    args = parser.parse_args(argv)
    args.file = published_models.tflite_file(args.file)
    with user_path(args.file):
        data = Path(args.file).read_bytes()

    if onnx_file.is_onnx(data):
        from kseg.export import onnx_lint

        reports = [onnx_lint.inspect(data, where=args.file)]
    else:
        from kseg.export import linter

        reports = [linter.inspect(data, PROFILES[name], args.file) for name in args.profile]
    for report in reports:
        print(f"{args.file}, {report['profile']}: {summary(report)}")
        for problem in report["problems"]:
            print(f"  {problem}")
    return 3 if any(report["problems"] for report in reports) else 0


def summary(report: dict[str, Any]) -> str:
    """Returns one line on a report of kseg.export.linter.inspect."""
    if report["partitions"] is None:
        return f"{report['operators']} operators, {len(report['problems'])} problems"
    return (
        f"{report['delegated']} operators on the GPU, {report['left_on_cpu']} on the CPU, in "
        f"{report['partitions']} partition{'s' if report['partitions'] != 1 else ''}"
    )


if __name__ == "__main__":
    sys.exit(run(main))
