"""The steps of a comparison, each done once: train, evaluate, export, time.

OUT/done.json names for each step what it was made from and what it wrote, by checksums: new
weights, a data set built anew and a file written over are seen, and what is right is left alone.
"""

import contextlib
import dataclasses
import hashlib
import json
import tempfile
from pathlib import Path

import kseg
from kseg.compare import child_process
from kseg.files import sha256, write_text
from kseg.manifest import read_manifest
from kseg.training import history

TFLITE = "model-fp32.tflite"
TIMES = "benchmark.json"
REFUSED = 3  # kseg.export's exit code for a file that does not answer as the model does.


class Steps:
    """Does those steps of rows in OUT that are not done.

    split: what rows are measured on; threads: of the CPU, for timing; training: flags of
    kseg.train; lock: the file descriptor that children hold too. All raise children.Failed.
    """

    def __init__(self, out, split, *, threads=1, training=(), lock=None):
        self.out, self.split, self.threads, self.training = Path(out), split, threads, training
        self._locks = () if lock is None else (lock,)

    def check(self, rows):
        """Builds the models of rows whose training has not begun, to see that they can be."""
        new = {
            row.name: dataclasses.asdict(row.config)
            for row in rows
            if row.trains and not (row.run / "config.json").is_file()
        }
        if new:
            print(f"building what is to be trained once, before the first is: {', '.join(new)}")
            with _json_file(new) as path:
                self._run("kseg.compare.preflight", path, self.split)

    def train(self, row):
        if is_trained(row):
            print(f"{row.name}: trained already")
            return
        with _json_file(dataclasses.asdict(row.config)) as path:
            self._run("kseg.train", "--config", path, "--out", row.run, *self.training)

    def evaluate(self, row):
        """Returns what kseg.evaluate writes, measured on the best weights of the row's run."""
        path = row.results / f"evaluation-{self.split}.json"
        argv = [row.run, "--split", self.split, "--data", row.config.data, "--out", row.results]
        self._once(f"{row.name}: evaluated", self._measured(row), [path], "kseg.evaluate", *argv)
        return read_json(path)

    def export(self, row):
        """Returns what kseg.export reports of the row's fp32 file for a CPU."""
        file, report = row.results / TFLITE, row.results / f"{TFLITE}.report.json"
        argv = [row.run, "--tflite", "--split", self.split, "--data", row.config.data]
        argv += ["--out", row.results]
        step, made_from = f"{row.name}: exported", self._measured(row)
        try:
            self._once(step, made_from, [file, report], "kseg.export", *argv)
        except child_process.Failed as error:
            if error.code != REFUSED:
                raise
            refused = read_json(row.results / f"{file.stem}.rejected.tflite.report.json")
            problems = "; ".join(refused.get("problems", []))
            raise child_process.Failed(f"its file was refused: {problems}", REFUSED) from error
        return read_json(report)

    def time(self, rows):
        """Times the files of rows in turns in one process. Returns what kseg.benchmark writes."""
        files = [row.results / TFLITE for row in rows]
        made_from = {
            "kseg": kseg.__version__,
            "threads": self.threads,
            "files": {str(file): sha256(file) for file in files},
        }
        argv = [*files, "--threads", self.threads, "--json", self.out / TIMES]
        self._once("all files: timed", made_from, [self.out / TIMES], "kseg.benchmark", *argv)
        return read_json(self.out / TIMES)

    def _measured(self, row):
        """What an evaluation or a file is made from."""
        request = json.dumps(read_manifest(row.config.data).request, sort_keys=True)
        return {
            "kseg": kseg.__version__,
            "run": str(row.run.resolve()),
            "weights": sha256(row.run / "best.weights.h5"),
            "data": row.config.data,
            "built": hashlib.sha256(request.encode()).hexdigest(),
            "split": self.split,
        }

    def _once(self, step, made_from, files, module, *argv):
        """Runs a command unless `files` are what it wrote when it last made them from the same."""
        path = self.out / "done.json"
        if read_json(path).get(step) == {"from": made_from, "wrote": _checksums(files)}:
            print(f"{step} already")
            return
        self._run(module, *argv)
        done = {"from": made_from, "wrote": _checksums(files)}
        write_text(path, json.dumps(read_json(path) | {step: done}, indent=1) + "\n")

    def _run(self, module, *argv):
        child_process.run(module, *argv, locks=self._locks)


def is_trained(row):
    """Whether the row's run is finished, with all that kseg.train writes at its end."""
    return history.is_complete(row.run, row.config) and (row.run / "curves.png").is_file()


def read_json(path):
    """A JSON object of a file; {} where there is none, or it is damaged."""
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return {}


def _checksums(files):
    return {file.name: sha256(file) if file.is_file() else None for file in files}


@contextlib.contextmanager
def _json_file(value):
    """Gives the path of a temporary file that holds a value as JSON."""
    with tempfile.NamedTemporaryFile("w", prefix="kseg-compare-", suffix=".json") as file:
        json.dump(value, file)
        file.flush()
        yield file.name
