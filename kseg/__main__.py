"""The `kseg` command: `kseg train ...` is `python -m kseg.train ...`."""

import importlib
import sys
from collections.abc import Sequence

import kseg
from kseg.errors import InputError, nearest, run

# Group -> command -> (module, what it does). Both in the order of the work.
COMMANDS: dict[str, dict[str, tuple[str, str]]] = {
    "data": {
        "demo": ("tfrecords_tools.demo.__main__", "draw a synthetic road data set to try kseg on"),
        "build": ("tfrecords_tools.build", "convert labelled images to TFRecord shards"),
        "verify": ("tfrecords_tools.verify", "check every record of a data set, and its splits"),
        "inspect": ("tfrecords_tools.inspect", "show a data set: samples, classes, statistics"),
    },
    "training": {
        "train": ("kseg.train", "train a model, or resume an interrupted run"),
        "import-weights": ("kseg.import_weights", "convert published encoder weights for kseg"),
        "compare": ("kseg.compare.__main__", "train, score, export and time several models"),
    },
    "evaluation": {
        "evaluate": ("kseg.evaluate", "score a run: IoU, boundary IoU, precision, recall"),
        "predict": ("kseg.predict", "draw predictions over images or a video"),
        "published": ("kseg.published.__main__", "list the trained models that come with kseg"),
        "attention": ("kseg.attention.__main__", "show what the attention of a SegFormer looks at"),
        "report": ("kseg.report.__main__", "collect scores, curves and frames in an HTML report"),
    },
    "deployment": {
        "export": ("kseg.export.__main__", "convert a run to .tflite and verify the files"),
        "lint": ("kseg.lint", "predict which operators of a .tflite a target can run"),
        "benchmark": ("kseg.benchmark", "time .tflite, ONNX and OpenVINO models on this machine"),
        "serve": ("kseg.serve", "serve a page that runs models in a browser, a phone's too"),
        "doctor": ("kseg.doctor", "report what this machine can run, after trying it"),
    },
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command that the arguments name. Returns its exit code.

    argv: arguments without the program's name (default: those of this process).
    """
    return run(lambda: _dispatch(sys.argv[1:] if argv is None else list(argv)))


def _dispatch(argv):
    modules = {name: module for group in COMMANDS.values() for name, (module, _) in group.items()}
    if not argv or argv[0] in ("-h", "--help"):
        print(help_text())
        return 0 if argv else 2
    if argv[0] == "--version":
        print(f"kseg {kseg.__version__}")
        return 0
    if argv[0] not in modules:
        raise InputError(
            f"{argv[0]}: no command of kseg; {nearest(argv[0], modules)}; all: kseg --help"
        )
    # Imported only now, so that --help needs none of the commands.
    return importlib.import_module(modules[argv[0]]).main(argv[1:])


def help_text() -> str:
    """Returns the help: every command with a line of its own, by group."""
    lines = [
        "usage: kseg COMMAND [ARGUMENTS]",
        "",
        "From labelled driving images to a verified TFLite segmentation model in the car.",
    ]
    for group, commands in COMMANDS.items():
        lines += ["", f"{group}:"]
        lines += [f"  {name:16}{description}" for name, (_, description) in commands.items()]
    lines += [
        "",
        "options:",
        "  -h, --help      show this help; `kseg COMMAND --help` shows that of a command",
        "  --version       show the version",
        "",
        "examples:",
        "  kseg predict street.jpg",
        "  kseg train --preset demo",
        "  kseg export runs/demo --tflite",
        "",
        "`kseg train` is the same as `python -m kseg.train`.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
