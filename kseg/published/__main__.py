"""python -m kseg.published: lists the models that come with kseg."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from kseg import published_models
from kseg.errors import InputError, nearest, run

EXAMPLES = """examples:
  python -m kseg.published
  python -m kseg.predict lanes drive.mp4
  kseg-run $(python -m kseg.published lanes) drive.mp4

With NAME, prints the path of the model's .tflite and nothing else.

Every command that takes a run takes the name of a published model too. What it writes goes to the
current folder, and scoring needs --data. A run in the current folder with the same name must be
written ./NAME; without the ./ the command stops.
"""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m kseg.published",
        description="Lists the models that come with kseg: classes, accuracy, size, licence, path.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help="a published model")
    args = parser.parse_args(argv)
    names = published_models.names()
    if args.name is None:
        print("\n\n".join(describe(name) for name in names) or "no published models")
    elif args.name in names:
        print(published_models.tflite_file(args.name))
    else:
        raise InputError(f"{args.name}: no published model; {nearest(args.name, names)}")
    return 0


def describe(name: str) -> str:
    """Returns the lines on a published model."""
    card: dict[str, Any] = published_models.read_card(name)
    folder = published_models.PUBLISHED / name
    scores = card["validation"]["all"]["scores"]
    rows = {
        "classes": ", ".join(card["classes"]),
        "model": f"{card['model']}, {card['parameters'] / 1e6:.2f} M parameters, input "
        f"{card['size'][0]}x{card['size'][1]}",
        "accuracy": f"mean IoU {100 * scores['mean_iou']:.1f} %, drivable IoU "
        f"{100 * scores['drivable_iou']:.1f} % on {card['validation']['all']['frames']} validation "
        f"frames of {card['validation']['dataset']}",
        "licence": card["licence"],
        ".tflite": f"{folder / name}.tflite ({card['bytes']['tflite'] / 1e6:.1f} MB)",
        "card": str(folder / "README.md"),
    }
    return "\n".join([name, *(f"  {key:10}{text}" for key, text in rows.items())])


if __name__ == "__main__":
    sys.exit(run(main))
