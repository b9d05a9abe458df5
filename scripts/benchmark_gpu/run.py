"""One call of the command: its options, results and time, and how its child processes start."""

import argparse
import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmark_gpu import children
from benchmark_gpu.results import Results
from kseg.manifest import read_manifest
from kseg.preprocess import Size


class Run:
    """What all stages need: results, folders, data, and the time limit of the current stage."""

    def __init__(self, args: argparse.Namespace, work: Path):
        self.results, self.out, self.work = Results(args.out), Path(args.out).resolve(), work
        self.compiled = self.out / "compiled"  # Kept for later calls.
        self.tiny, self.epochs, self.files = args.tiny, args.epochs, args.files
        self.backend = _backend()
        # TFRecords by frame size; (0, 0): of frames that differ in size.
        self.data: dict[Size, Path] = {}
        for folder in map(Path, args.data):
            self.data[read_manifest(folder).size or (0, 0)] = folder.resolve()
        self.end = self.deadline = time.monotonic() + 60 * args.minutes
        (work / "logs").mkdir()

    def seconds_left(self) -> float:
        return self.deadline - time.monotonic()

    def tfrecords(self, size: Size) -> Path | None:
        """Returns the TFRecords of this size, else the first ones, else None."""
        return self.data.get(size) or next(iter(self.data.values()), None)

    def start(self, name: str, module: str, *arguments: Any, **variables: str) -> children.Child:
        """Starts a child process with the log `name`. variables: of its environment."""
        env = children.environment(self.backend, self.compiled, **variables)
        return children.Child(self._log(name), module, *arguments, env=env)

    def _log(self, name: str) -> Path:
        return self.work / "logs" / f"{name.replace(' ', '-')}.txt"

    def has(self, package: str) -> bool:
        return importlib.util.find_spec(package) is not None

    def print_log(self, name: str) -> None:
        """Prints the end of a log, which has the traceback of a failed stage."""
        if self._log(name).is_file():
            print(self._log(name).read_text(errors="replace")[-6000:], flush=True)

    def write_log(self) -> None:
        """Collects all logs in OUT/log.txt."""
        paths = sorted((self.work / "logs").glob("*.txt"), key=lambda p: p.stat().st_mtime)
        with (self.out / "log.txt").open("w") as file:
            for path in paths:
                file.write(f"===== {path.stem}\n{path.read_text(errors='replace')[-200_000:]}\n")


def _backend() -> str:
    """Returns KERAS_BACKEND, or the backend that finds a GPU, or "tensorflow"."""
    if os.environ.get("KERAS_BACKEND"):
        return os.environ["KERAS_BACKEND"]
    probes = {
        "jax": "import jax; assert jax.devices()[0].platform == 'gpu'",
        "tensorflow": "import tensorflow as tf; assert tf.config.list_physical_devices('GPU')",
    }
    for name, code in probes.items():
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
        if done.returncode == 0:
            return name
    return "tensorflow"
