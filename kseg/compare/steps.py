"""The steps of a comparison: train, evaluate, export, time. Each is done once.

OUT/done.json records the inputs and outputs of each step by their checksums. A step is repeated
after new weights, a rebuilt data set or a modified output, and skipped otherwise.
"""

import contextlib
import dataclasses
import hashlib
import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import kseg
from kseg import preprocess
from kseg.compare import commands
from kseg.compare.plan import Row
from kseg.evaluation.scores import SCORES_VERSION
from kseg.export.profiles import EXPORT_VERSION
from kseg.files import sha256, write_text
from kseg.manifest import read_manifest
from kseg.runtime.timing import TIMING_VERSION
from kseg.training import history

TFLITE = "model-fp32.tflite"
TIMES = "benchmark.json"
REJECTED = 3  # Exit code of kseg.export for a file that does not agree with the model.


class Steps:
    """Runs the steps of rows in the folder `out` that are not done yet.

    split: the split to measure on; threads: CPU threads for timing; training: flags for kseg.train;
    lock: file descriptor of a lock that child processes hold too. All methods raise CommandFailed.
    """

    def __init__(
        self,
        out: Path,
        split: str,
        *,
        threads: int = 1,
        training: Sequence[Any] = (),
        lock: int | None = None,
    ) -> None:
        self.out, self.split, self.threads, self.training = Path(out), split, threads, training
        self._locks = () if lock is None else (lock,)

    def check(self, rows: Iterable[Row]) -> None:
        """Builds the models of rows whose training has not begun, to detect errors early."""
        new = {
            row.name: dataclasses.asdict(row.config)
            for row in rows
            if row.trains and not (row.run / "config.json").is_file()
        }
        if new:
            print(f"checking that all models can be built: {', '.join(new)}")
            with _json_file(new) as path:
                self._run("kseg.compare.preflight", path, self.split)

    def train(self, row: Row) -> None:
        """Trains the row's run, or resumes it."""
        if is_trained(row):
            print(f"{row.name}: trained already")
            return
        with _json_file(dataclasses.asdict(row.config)) as path:
            self._run("kseg.train", "--config", path, "--out", row.run, *self.training)

    def evaluate(self, row: Row) -> dict:
        """Returns the report of kseg.evaluate on the best weights of the row's run."""
        path = row.results / f"evaluation-{self.split}.json"
        argv = [row.run, "--split", self.split, "--data", row.config.data, "--out", row.results]
        self._once(f"{row.name}: evaluated", self._inputs(row), [path], "kseg.evaluate", *argv)
        return read_json(path)

    def export(self, row: Row) -> dict:
        """Returns the report of kseg.export on the row's fp32 file for a CPU."""
        file, report = row.results / TFLITE, row.results / f"{TFLITE}.report.json"
        argv = [row.run, "--tflite", "--split", self.split, "--data", row.config.data]
        argv += ["--out", row.results]
        step, inputs = f"{row.name}: exported", self._inputs(row)
        try:
            self._once(step, inputs, [file, report], "kseg.export", *argv)
        except commands.CommandFailed as error:
            if error.code != REJECTED:
                raise
            rejected = read_json(row.results / f"{file.stem}.rejected.tflite.report.json")
            problems = "; ".join(rejected.get("problems", []))
            raise commands.CommandFailed(f"its file was rejected: {problems}", REJECTED) from error
        return read_json(report)

    def time(self, rows: Iterable[Row]) -> dict:
        """Times the rows' files, interleaved in one process. Returns kseg.benchmark's report."""
        files = [row.results / TFLITE for row in rows]
        inputs = {
            "kseg": [kseg.__version__, TIMING_VERSION],
            "threads": self.threads,
            "files": {str(file): sha256(file) for file in files},
        }
        argv = [*files, "--threads", self.threads, "--json", self.out / TIMES]
        self._once("all files: timed", inputs, [self.out / TIMES], "kseg.benchmark", *argv)
        return read_json(self.out / TIMES)

    def _inputs(self, row):
        """What an evaluation or an exported file depends on."""
        request = json.dumps(read_manifest(row.config.data).request, sort_keys=True)
        return {
            "kseg": [kseg.__version__, preprocess.FIT_VERSION, SCORES_VERSION, EXPORT_VERSION],
            "run": str(row.run.resolve()),
            "weights": sha256(row.run / "best.weights.h5"),
            "data": row.config.data,
            "built": hashlib.sha256(request.encode()).hexdigest(),
            "split": self.split,
        }

    def _once(self, step, inputs, files, module, *argv):
        """Runs a command unless its inputs and its output `files` are as after its last run."""
        path = self.out / "done.json"
        if read_json(path).get(step) == {"from": inputs, "wrote": _checksums(files)}:
            print(f"{step} already")
            return
        self._run(module, *argv)
        done = {"from": inputs, "wrote": _checksums(files)}
        write_text(path, json.dumps(read_json(path) | {step: done}, indent=1) + "\n")

    def _run(self, module, *argv):
        commands.run(module, *argv, locks=self._locks)


def is_trained(row: Row) -> bool:
    """Whether the row's run is finished, with the files that kseg.train writes at the end."""
    return history.is_complete(row.run, row.config) and (row.run / "curves.png").is_file()


def read_json(path: Path) -> dict:
    """Returns the JSON object in a file; {} when the file is missing or corrupt."""
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return {}


def _checksums(files):
    return {file.name: sha256(file) if file.is_file() else None for file in files}


@contextlib.contextmanager
def _json_file(value: Any) -> Iterator[str]:
    """Yields the path of a temporary file with a value as JSON."""
    with tempfile.NamedTemporaryFile("w", prefix="kseg-compare-", suffix=".json") as file:
        json.dump(value, file)
        file.flush()
        yield file.name
