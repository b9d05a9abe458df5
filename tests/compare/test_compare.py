import csv
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kseg import config as configs
from kseg.compare import __main__ as compare
from kseg.compare import commands as command_runner
from kseg.compare import plan, steps, table
from kseg.config import Config
from kseg.errors import InputError
from kseg.labels import CAMVID_ROAD
from kseg.manifest import Manifest, Split, read_manifest
from tests.conftest import ROOT, assert_one_line, command


def write_data(folder, labels=CAMVID_ROAD, size=(64, 96), seed=0, **frames):
    """Writes a data set that has only a manifest."""
    folder.mkdir()
    splits = {name: Split(count, (1, 1, 1), 0, ()) for name, count in frames.items()}
    request = {"inputs": "first", "seed": seed, "size": size}
    manifest = Manifest("a set", labels, size, splits, request)
    (folder / "manifest.json").write_text(manifest.to_json())
    return folder


@pytest.fixture
def data(tmp_path):
    return write_data(tmp_path / "data", train=9, val=5, test=7)


def write_run(run, config, epochs=None, labels=CAMVID_ROAD):
    """Writes a run folder as after `epochs` epochs; None: all."""
    run.mkdir(parents=True)
    (run / "config.json").write_text(config.to_json())
    (run / "labels.json").write_text(json.dumps(labels.to_dict()))
    (run / "data.json").write_text(json.dumps(read_manifest(config.data).request))
    (run / "best.weights.h5").write_bytes(config.model.encode() * 100)
    epochs = config.epochs if epochs is None else epochs
    lines = [f"{epoch},0.{epoch + 1},90.0" for epoch in range(epochs)]
    (run / "history.csv").write_text("\n".join(["epoch,val_mean_iou,seconds", *lines]) + "\n")
    if epochs == config.epochs:
        (run / "curves.png").write_bytes(b"an image")
    return run


class Commands:
    """Replaces the child processes: writes their output files and records the calls."""

    def __init__(self):
        self.calls, self.failing = [], {}

    def __call__(self, module, *argv, locks=()):
        command, argv = module.rpartition(".")[2], [str(a) for a in argv]
        name = self.name(command, argv)
        self.calls.append((command, name))
        if (command, name) in self.failing:
            raise self.failing[command, name]
        getattr(self, command)(argv)

    def name(self, command, argv):
        if command == "preflight":
            return " ".join(json.loads(Path(argv[0]).read_text()))
        if command == "benchmark":
            files = (Path(a) for a in argv if a.endswith(".tflite"))
            return " ".join(file.parent.name for file in files)
        return Path(argv[argv.index("--out") + 1]).name

    def take(self):
        """Returns the calls since the last time."""
        calls, self.calls = self.calls, []
        return calls

    def preflight(self, argv):
        pass

    def train(self, argv):
        config = configs.read(argv[argv.index("--config") + 1])
        write_run(Path(argv[argv.index("--out") + 1]), config)

    def evaluate(self, argv):
        out, split = (Path(argv[argv.index(flag) + 1]) for flag in ("--out", "--split"))
        out.mkdir(exist_ok=True)
        scores = {"mean_iou": 0.5, "drivable_iou": 0.75, "mean_boundary_iou": 0.25}
        scores |= {"pixel_accuracy": 0.9}
        scores |= {f"iou/{name}": 0.5 for name in CAMVID_ROAD.names}
        scores |= {f"boundary_iou/{name}": None for name in CAMVID_ROAD.names}
        report = {"frames": 7, "parameters": 1_234_567, "gflops": 1.5, "model": scores}
        (out / f"evaluation-{split}.json").write_text(json.dumps(report))

    def export(self, argv):
        out = Path(argv[argv.index("--out") + 1])
        (out / "model-fp32.tflite").write_bytes(b"a file")
        report = {"bytes": 4_938_268, "pixel_agreement": 1.0}
        (out / "model-fp32.tflite.report.json").write_text(json.dumps(report))

    def benchmark(self, argv):
        files = [a for a in argv if a.endswith(".tflite")]
        times = [
            {"min_ms": 10.0 + i, "median_ms": 11.0 + i, "runs": 100} for i in range(len(files))
        ]
        models = [{"name": f, "model": t} for f, t in zip(files, times, strict=True)]
        report = {"threads": 1, "machine": {"cpu": "a CPU", "load_average": 0.5}, "models": models}
        Path(argv[argv.index("--json") + 1]).write_text(json.dumps(report))


@pytest.fixture
def commands(monkeypatch):
    fake = Commands()
    monkeypatch.setattr(command_runner, "run", fake)
    return fake


def once(name):
    """The calls for one row with a model to train."""
    return [(command, name) for command in ("train", "evaluate", "export")]


def rows_in(out):
    return {row["name"]: row for row in json.loads((out / "comparison.json").read_text())}


@pytest.fixture
def two(data, tmp_path):
    """The command line of a comparison of two models."""
    models = ["unet", "b0=segformer_b0:learning_rate=1e-3"]
    return ["--data", data, "--epochs", 2, "--out", tmp_path / "out", "--models", *models]


def test_every_step_is_done_once(two, commands, tmp_path, capsys):
    assert command(compare.main, two) == 0
    timed = ("benchmark", "unet b0")
    assert commands.take() == [("preflight", "unet b0"), *once("unet"), *once("b0"), timed]
    written = {p: p.read_bytes() for p in (tmp_path / "out").glob("comparison.*")}
    assert {p.suffix for p in written} == {".md", ".csv", ".json", ".png"}
    assert "2 of 2: b0" in capsys.readouterr().out
    assert command(compare.main, two) == 0
    assert commands.take() == []
    assert written == {p: p.read_bytes() for p in written}


def test_an_interrupted_comparison_continues_at_the_interrupted_step(two, commands, capsys):
    commands.failing = {("evaluate", "b0"): KeyboardInterrupt()}
    assert command(compare.main, two) == 130
    commands.take()
    commands.failing = {}
    assert command(compare.main, two) == 0
    assert commands.take() == [("evaluate", "b0"), ("export", "b0"), ("benchmark", "unet b0")]


def test_an_unfinished_training_is_resumed(two, commands, tmp_path):
    commands.failing = {("train", "b0"): KeyboardInterrupt()}
    assert command(compare.main, two) == 130
    commands.take()
    # The state after an interrupted kseg.train: one epoch of two, no curves.
    config = json.loads((tmp_path / "out/unet/config.json").read_text())
    config |= {"model": "segformer_b0", "learning_rate": 1e-3}
    write_run(tmp_path / "out/b0", configs.merge(Config(), config), epochs=1)
    assert command(compare.main, two) == 130
    assert commands.take() == [("train", "b0")]  # No second preflight.


@pytest.mark.parametrize(
    ("file", "again"),
    [
        ("best.weights.h5", [("evaluate", "unet"), ("export", "unet")]),
        ("evaluation-test.json", [("evaluate", "unet")]),
        ("model-fp32.tflite", [("export", "unet")]),
        ("model-fp32.tflite.report.json", [("export", "unet")]),
        ("../benchmark.json", [("benchmark", "unet b0")]),
    ],
)
def test_a_step_is_repeated_when_its_files_were_modified(two, commands, tmp_path, file, again):
    assert command(compare.main, two) == 0
    commands.take()
    (tmp_path / "out/unet" / file).write_text("something else")
    assert command(compare.main, two) == 0
    assert commands.take() == again


@pytest.mark.parametrize(
    ("version", "again"),
    [
        ("SCORES_VERSION", [("evaluate", "unet"), ("export", "unet")]),
        ("EXPORT_VERSION", [("evaluate", "unet"), ("export", "unet")]),
        ("TIMING_VERSION", []),
    ],
)
def test_a_step_is_repeated_by_a_kseg_that_computes_it_otherwise(
    two, commands, monkeypatch, version, again
):
    assert command(compare.main, two) == 0
    commands.take()
    monkeypatch.setattr(steps, version, 99)
    assert command(compare.main, two) == 0
    others = [(step, "b0") for step, _ in again]
    timed = [] if again else [("benchmark", "unet b0")]
    assert commands.take() == again + others + timed


def test_a_new_tflite_file_is_timed_again(two, commands, tmp_path, monkeypatch):
    assert command(compare.main, two) == 0
    commands.take()
    (tmp_path / "out/unet/best.weights.h5").write_bytes(b"better weights")
    export = commands.export

    def exports_other_weights(argv):
        export(argv)
        (tmp_path / "out/unet/model-fp32.tflite").write_bytes(b"another file")

    monkeypatch.setattr(commands, "export", exports_other_weights)
    assert command(compare.main, two) == 0
    assert commands.take()[-1] == ("benchmark", "unet b0")


def test_a_failed_row_is_reported_and_repeated_and_others_are_kept(two, commands, tmp_path):
    reason = "the loss became NaN; lower --learning-rate"
    commands.failing = {("train", "unet"): command_runner.CommandFailed(reason, 1)}
    assert command(compare.main, two) == 1
    commands.take()
    rows = rows_in(tmp_path / "out")
    assert (rows["unet"]["status"], rows["unet"]["why"]) == ("failed", f"training: {reason}")
    assert rows["b0"]["status"] == "done" and rows["b0"]["latency_ms"] == 11
    markdown = (tmp_path / "out/comparison.md").read_text()
    assert f"training: {reason}" in markdown
    assert "| `unet` | - | - |" in markdown
    commands.failing = {}
    assert command(compare.main, two) == 0
    again = [("preflight", "unet"), *once("unet"), ("benchmark", "unet b0")]
    assert commands.take() == again
    assert rows_in(tmp_path / "out")["unet"]["status"] == "done"


def test_a_rejected_file_gives_its_problem_and_its_row_keeps_its_iou(two, commands, tmp_path):
    def reject(argv):
        out = Path(argv[argv.index("--out") + 1])
        report = {"problems": ["98 % of pixels agree, 99.9 % must"]}
        (out / "model-fp32.rejected.tflite.report.json").write_text(json.dumps(report))
        raise command_runner.CommandFailed("exit code 3", steps.REJECTED)

    commands.export = reject
    assert command(compare.main, two) == 1
    row = rows_in(tmp_path / "out")["unet"]
    assert row["why"].startswith("export: ")
    assert row["why"].endswith("98 % of pixels agree, 99.9 % must")
    assert row["mean_iou"] == 0.5 and row["tflite_bytes"] is None
    assert "benchmark" not in dict(commands.take())


def test_a_model_that_cannot_be_built_is_an_error_before_any_training(two, commands):
    commands.failing = {
        ("preflight", "unet b0"): command_runner.CommandFailed("no encoder to freeze", 2)
    }
    assert command(compare.main, two) == 2
    assert commands.take() == [("preflight", "unet b0")]


@pytest.mark.parametrize(
    ("change", "words"),
    [(["--epochs", 3], ["out/unet", "epochs 2", "3 now"]), ([], ["out/unet", "data", "--out"])],
)
def test_a_run_with_another_config_or_data_is_one_line(two, commands, data, capsys, change, words):
    assert command(compare.main, two) == 0
    commands.take()
    if not change:
        text = (data / "manifest.json").read_text()
        (data / "manifest.json").write_text(text.replace('"first"', '"second"'))
    assert command(compare.main, [*two, *change]) == 2
    assert_one_line(capsys, *words)
    assert commands.take() == []


def test_a_dry_run_shows_the_rows_and_writes_nothing(two, commands, tmp_path, capsys):
    assert command(compare.main, [*two, "--dry-run"]) == 0
    out = " ".join(capsys.readouterr().out.split())  # The title wraps with long folders.
    assert "learning_rate=0.001" in out and "0 of 2" in out and "7 frames" in out
    assert commands.take() == [] and not (tmp_path / "out").exists()


# Rows.


def test_the_default_is_the_five_models_of_the_course(data, tmp_path, commands, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command(compare.main, ["--preset", "course", "--data", data]) == 0
    rows = rows_in(tmp_path / "comparisons/course")
    assert list(rows) == list(plan.COURSE_MODELS) and len(rows) == 5
    config = json.loads((tmp_path / "comparisons/course/unet/config.json").read_text())
    assert (config["epochs"], config["size"], config["loss"]) == (12, [180, 320], "log_dice")


def test_settings_of_one_row_have_the_types_of_the_config():
    text = "s=unet:decoder_channels=16,size=97x161,flip=false,learning_rate=1e-3,loss=dice+2*lovasz"
    row, other = plan.from_models([text, "segformer_b0"], Config(epochs=3), Path("out"))
    changed = {"decoder_channels": 16, "size": (97, 161), "flip": False, "learning_rate": 1e-3}
    changed |= {"loss": "dice+2*lovasz", "model": "unet", "epochs": 3}
    assert row.config == dataclasses.replace(Config(), **changed)
    assert (row.name, row.run) == ("s", Path("out/s"))
    assert other.config == Config(model="segformer_b0", epochs=3)


def test_a_row_can_have_further_data_sets_of_its_own():
    config = Config(also=("data/camvid",))
    rows = plan.from_models(["m=unet:also=data/idd 2 road=direct", "unet:also="], config, Path("o"))
    assert [row.config.also for row in rows] == [("data/idd 2 road=direct",), ()]


@pytest.mark.parametrize(
    ("models", "message"),
    [
        (["unett"], "'unett'.*unet"),
        (["unet:epoch=3"], "'unet:epoch=3'.*'epoch'.*'epochs'"),
        (["unet:epochs=ten"], "'epochs' is 'ten'.*int"),
        (["unet:flip=1"], "'flip' is '1'.*true or false"),
        (["unet:size=97"], "'size' is"),
        (["unet:epochs"], r"\[NAME=\]MODEL\[:KEY=VALUE,...\].*'epochs'"),
        (["unet:model=unet"], r"\[NAME=\]MODEL"),
        (["unet", "unet:epochs=3"], "'unet'.*unet-2=unet"),
        (["../a=unet"], "'../a'"),
    ],
)
def test_an_invalid_row_is_one_line(models, message):
    with pytest.raises(InputError, match=message) as caught:
        plan.from_models(models, Config(), Path("out"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "keys", "count"),
    [
        ("loss", {"loss", "class_weights"}, 6),
        ("schedule", {"schedule", "warmup_steps"}, 4),
        ("encoder", {"encoder_weights", "freeze_encoder"}, 3),
    ],
)
def test_an_ablation_changes_only_its_own_settings(kind, keys, count):
    base = Config(optimizer="sgd", schedule="poly", warmup_steps=9, encoder_weights="imagenet")
    rows = plan.from_ablation(kind, base, Path("out"))
    configs = [dataclasses.asdict(row.config) for row in rows]
    assert len({json.dumps(config) for config in configs}) == count == len(rows)
    for config in configs:
        left, right = dataclasses.asdict(base), config
        assert {key for key in left if left[key] != right[key]} <= keys


def test_an_ablation_of_the_encoder_needs_pretrained_weights():
    with pytest.raises(InputError, match="--encoder-weights"):
        plan.from_ablation("encoder", Config(), Path("out"))


def test_a_model_is_named_by_models_or_with_an_ablation(data, commands, tmp_path, capsys):
    argv = ["--data", data, "--model", "unet", "--out", tmp_path / "out"]
    assert command(compare.main, argv) == 2
    assert_one_line(capsys, "--models")
    assert command(compare.main, [*argv, "--ablation", "schedule"]) == 0
    assert list(rows_in(tmp_path / "out")) == list(plan.ABLATIONS["schedule"])
    assert {row["model"] for row in rows_in(tmp_path / "out").values()} == {"unet"}


# Existing runs.


@pytest.fixture
def runs(data, tmp_path):
    """Two finished runs of two models."""
    config = Config(data=str(data), size=(64, 96), epochs=2)
    models = {"a": "unet", "b": "segformer_b0"}
    return [
        write_run(tmp_path / name, dataclasses.replace(config, model=model))
        for name, model in models.items()
    ]


def test_existing_runs_are_compared_and_not_changed(runs, commands, tmp_path):
    before = {p: p.stat().st_mtime_ns for run in runs for p in run.rglob("*")}
    argv = ["--runs", runs[0], f"old={runs[1]}", "--out", tmp_path / "out"]
    assert command(compare.main, argv) == 0
    made = [("evaluate", "a"), ("export", "a"), ("evaluate", "old"), ("export", "old")]
    assert commands.take() == [*made, ("benchmark", "a old")]
    rows = rows_in(tmp_path / "out")
    assert rows["old"]["run"] == str(runs[1]) and rows["a"]["split"] == "test"
    assert before == {p: p.stat().st_mtime_ns for run in runs for p in run.rglob("*")}


def test_results_of_another_run_with_the_same_name_are_not_reused(runs, commands, tmp_path):
    other = ["--out", tmp_path / "out", "--runs"]
    assert command(compare.main, [*other, f"x={runs[0]}"]) == 0
    commands.take()
    assert command(compare.main, [*other, f"x={runs[1]}"]) == 0
    assert commands.take()[:2] == [("evaluate", "x"), ("export", "x")]


def test_an_unfinished_run_is_compared_with_a_note(runs, data, commands, tmp_path):
    config = Config(data=str(data), size=(64, 96), epochs=5)
    half = write_run(tmp_path / "half", config, epochs=3)
    assert command(compare.main, ["--runs", half, runs[0], "--out", tmp_path / "out"]) == 0
    notes = (tmp_path / "out/comparison.md").read_text()
    assert re.search(r"^- half: .*3 of 5 epochs", notes, re.MULTILINE)
    assert not re.search(r"^- a:", notes, re.MULTILINE)


def test_runs_that_cannot_be_compared_are_one_line(runs, data, commands, tmp_path, capsys):
    def error(*argv):
        assert command(compare.main, ["--out", tmp_path / "out", "--runs", *argv]) == 2
        return capsys.readouterr().err

    assert "config.json" in error(data)
    assert re.search(r"--epochs: .*--runs", error(*runs, "--epochs", 3))
    assert "'a'" in error(runs[0], f"a={runs[1]}")
    config = Config(data=str(write_data(tmp_path / "less", train=9, val=4)), size=(64, 96))
    less = write_run(tmp_path / "c", config)
    assert re.search(r"5 frames.*4 frames.*--data", error(*runs, less))
    two_classes = dataclasses.replace(CAMVID_ROAD, classes=CAMVID_ROAD.classes[:2])
    fewer = write_run(
        tmp_path / "d", dataclasses.replace(config, data=str(data)), None, two_classes
    )
    assert re.search(rf"{fewer}: .*classes", error(*runs, fewer))
    assert commands.take() == [] and not (tmp_path / "out").exists()
    argv = ["--out", tmp_path / "out", "--data", data, "--runs", *runs, less]
    assert command(compare.main, argv) == 0


def test_the_default_split_is_test_or_else_val_and_a_missing_one_is_refused(runs, tmp_path):
    rows = plan.from_runs(runs, tmp_path)
    assert plan.choose_split(rows) == ("test", 7)
    assert plan.choose_split(rows, "val") == ("val", 5)
    with pytest.raises(InputError, match=r"'tset'.*train, val, test"):
        plan.choose_split(rows, "tset")
    less = str(write_data(tmp_path / "less", train=9, val=4))
    assert plan.choose_split(plan.from_runs(runs, tmp_path, less)) == ("val", 4)


def test_other_frames_of_the_same_number_are_no_comparison(runs, tmp_path):
    counts = {"train": 9, "val": 5, "test": 7}
    larger = write_data(tmp_path / "larger", size=(96, 144), **counts)
    other = write_data(tmp_path / "other", seed=1, **counts)
    size, seed = (
        write_run(tmp_path / data.name / "run", Config(data=str(data), size=(64, 96)))
        for data in (larger, other)
    )
    assert plan.choose_split(plan.from_runs([*runs, size], tmp_path)) == ("test", 7)
    with pytest.raises(InputError, match=r"different frames: .*other \(a set, 7 frames\)"):
        plan.choose_split(plan.from_runs([*runs, seed], tmp_path))


# The table.


def test_the_table_has_the_numbers_in_their_units(two, commands, tmp_path):
    assert command(compare.main, two) == 0
    heading, _, first, second, *rest = (tmp_path / "out/comparison.md").read_text().splitlines()
    assert [cell.strip() for cell in heading.strip("|").split("|")] == [
        *("", "mean IoU", "road", "pavement", "background", "drivable IoU", "boundary IoU"),
        *("parameters, M", "weights, MB", ".tflite, MB", "latency, ms", "training, min"),
    ]
    # 400 bytes of weights; twice 90 s of training.
    numbers = "50.00 | 50.00 | 50.00 | 50.00 | 75.00 | 25.00 | 1.23 | 0.00 | 4.94 | 11.0 | 3.0 |"
    assert first == f"| `unet` | {numbers}"
    assert second.startswith("| `b0` |") and second.endswith("| 12.0 | 3.0 |")
    assert any("split 'test'" in line and "7 frames" in line for line in rest)
    with (tmp_path / "out/comparison.csv").open() as file:
        flat = list(csv.DictReader(file))
    assert flat[0]["parameters"] == "1234567" and flat[0]["boundary_iou/road"] == ""
    assert flat[0]["training_seconds"] == "180.0" and flat[1]["latency_min_ms"] == "11.0"


def test_notes_report_a_busy_machine_and_a_time_that_was_not_recorded():
    config = Config(data="data", epochs=2)
    row = table.new_row(plan.Row("a", Path("a"), config, Path("a"), False), "val")
    row |= {"status": "done", "finished": True, "frames": 3, "latency_rounds": 9}
    row |= {"latency_threads": 2, "latency_cpu": "a CPU", "latency_load_average": 4.5}
    quiet = table.notes([row | {"latency_ms": 1.2, "latency_min_ms": 1, "training_seconds": 3}])
    assert len(quiet) == 2 and "2 threads of a CPU" in quiet[1]
    busy = table.notes([row | {"latency_ms": 1.5, "latency_min_ms": 1}])
    assert busy[1].startswith("training: ") and "4.5" in busy[3] and "50%" in busy[3]


def test_child_processes_hold_the_lock(two, tmp_path, monkeypatch):
    all_locks = []
    monkeypatch.setattr(command_runner, "run", lambda *argv, locks: all_locks.append(locks))
    rows = plan.from_models(["unet"], Config(data="nowhere"), tmp_path)
    steps.Steps(tmp_path, "val", lock=7).train(rows[0])
    assert all_locks == [(7,)]


@pytest.mark.slow
def test_a_real_comparison_is_interrupted_and_continued(config, tmp_path):
    (tmp_path / "c.json").write_text(dataclasses.replace(config, epochs=2).to_json())
    models = ["unet:decoder_channels=4", "deeplab=deeplab_v3_plus_mobilenet_v2"]
    models += ["diverges=unet:decoder_channels=4,learning_rate=1e30"]
    out = tmp_path / "out"
    argv = ["-m", "kseg.compare", "--config", tmp_path / "c.json", "--out", out, "--models"]
    argv = [sys.executable, *map(str, argv), *models]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "cwd": ROOT}
    # Into a file: an unread pipe would fill up and block it.
    with (tmp_path / "first.log").open("w") as log:
        first = subprocess.Popen(argv, **pipes | {"stdout": log}, start_new_session=True)
    while not (out / "unet/last/state.json").is_file():
        assert first.poll() is None
        time.sleep(0.05)
    os.killpg(first.pid, signal.SIGINT)  # Like Ctrl-C.
    assert first.wait() == 130
    again = subprocess.run(argv, **pipes, check=False)
    assert again.returncode == 1, again.stdout[-3000:]
    outcomes = ("unet: resuming after epoch", "unet: already trained", "unet: trained already")
    assert any(outcome in again.stdout for outcome in outcomes), again.stdout[-3000:]
    rows = rows_in(out)
    assert rows["diverges"]["why"] == "training: the loss became NaN; lower --learning-rate"
    for name in ("unet", "deeplab"):
        row = rows[name]
        assert row["status"] == "done" and row["frames"] == 8 and row["epochs"] == 2
        report = json.loads((out / name / "evaluation-val.json").read_text())
        assert row["mean_iou"] == report["model"]["mean_iou"]
        assert row["tflite_bytes"] == (out / name / "model-fp32.tflite").stat().st_size
        assert row["latency_ms"] > 0 and row["training_seconds"] > 0
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*.h5")}
    argv.pop()
    third = subprocess.run(argv, **pipes, check=False)
    assert third.returncode == 0, third.stdout[-3000:]
    assert "unet: exported already" in third.stdout and "timed already" in third.stdout
    assert before == {p: p.stat().st_mtime_ns for p in out.rglob("*.h5")}
