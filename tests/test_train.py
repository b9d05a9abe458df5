import csv
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
import types
from pathlib import Path

import cv2
import h5py
import keras
import numpy as np
import pytest

from kseg import files, run_folder, train, trained_model
from kseg.data import records
from kseg.errors import InputError
from kseg.manifest import read_manifest
from kseg.runtime import backend_devices
from kseg.training import callbacks, resume
from kseg.training import history as run_history
from tests.conftest import ROOT, assert_one_line, command, files_of_at_most, write_shard


def weights_in(path):
    arrays = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: (
                arrays.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
            )
        )
    return arrays


def history(run):
    """The rows of history.csv without their seconds, which differ from run to run."""
    with (run / "history.csv").open() as file:
        return [dict(row, seconds="") for row in csv.DictReader(file)]


def test_a_run_folder_has_the_files_that_other_commands_read(trained_run, config):
    names = {p.name for p in trained_run.iterdir()}
    assert {"config.json", "labels.json", "best.weights.h5", "history.csv", "curves.png"} <= names
    assert run_folder.read_run(trained_run)[0] == config
    rows = history(trained_run)
    assert [row["epoch"] for row in rows] == ["0", "1", "2", "3"]
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    # best.weights.h5 has no optimizer state.
    with h5py.File(trained_run / "best.weights.h5") as file:
        assert "optimizer" not in file


class Killed(Exception):
    pass


def raise_killed():
    raise Killed


def train_until(monkeypatch, config, run, epochs_done, step=0, **options):
    """Trains until the weights of a checkpoint are written, but not the state that names them."""
    write = files.write_text

    def killed_write(path, text):
        if path.name == "state.json":
            state = json.loads(text)
            if (state["epochs_done"], state["step"]) == (epochs_done, step):
                raise Killed
        write(path, text)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(files, "write_text", killed_write)
        train.train(config, run, **options)


def assert_same_end(run, other, name):
    """Asserts bit-identical weights and optimizer, and the same history."""
    ours, others = weights_in(run / "last" / name), weights_in(other / "last" / name)
    assert ours.keys() == others.keys() and any("optimizer" in name for name in ours)
    for name in ours:
        assert np.array_equal(ours[name], others[name]), name
    assert history(run) == history(other)


def test_a_run_killed_at_any_step_resumes_to_the_same_weights(
    trained_run, config, tmp_path, monkeypatch, capsys
):
    run, often = tmp_path / "run", {"save_steps": 2}
    # 6 steps per epoch. Killed in the second epoch, then at its end, after its row was written
    # to the history, before a checkpoint counts it.
    train_until(monkeypatch, config, run, 1, step=4, **often)
    assert (resume.resume_state(run)["epochs_done"], resume.resume_state(run)["step"]) == (1, 2)
    train_until(monkeypatch, config, run, 2, **often)
    assert "resuming after epoch 1 and 2 steps" in capsys.readouterr().out
    assert len(history(run)) == 2 and resume.resume_state(run)["step"] == 4
    assert resume.resume_state(run)["seconds"] > 0
    assert train.train(config, run) == 0
    assert_same_end(trained_run, run, "epoch-0004.weights.h5")
    assert sorted(p.name for p in (run / "last").iterdir()) == [
        "epoch-0003.weights.h5",
        "epoch-0004.weights.h5",
        "previous.json",
        "state.json",
    ]


@pytest.mark.slow
def test_resuming_with_the_wrong_data_would_be_detected(trained_run, config, tmp_path, monkeypatch):
    from kseg.data import training_batches

    run, training_dataset = tmp_path / "run", training_batches.training_dataset
    train_until(monkeypatch, config, run, 1, step=4, save_steps=2)

    def from_the_start_of_the_epoch(config, first_step, **options):
        return training_dataset(config, **options)

    monkeypatch.setattr(training_batches, "training_dataset", from_the_start_of_the_epoch)
    assert train.train(config, run) == 0
    with pytest.raises(AssertionError):
        assert_same_end(trained_run, run, "epoch-0004.weights.h5")


@pytest.mark.slow
def test_all_state_resumes_bit_exactly(config, tmp_path, monkeypatch):
    everything = dataclasses.replace(
        config,
        epochs=2,
        model="segformer_b0",  # Stochastic depth and dropout.
        loss="cross_entropy+lovasz",
        class_weights="auto",
        optimizer="adamw",
        weight_decay=0.01,
        encoder_learning_rate_factor=0.5,
        schedule="poly",
        warmup_steps=3,
        gradient_accumulation_steps=3,
        ema_momentum=0.9,
        mixed_precision="bfloat16",
    )
    assert train.train(everything, tmp_path / "uninterrupted") == 0
    train_until(monkeypatch, everything, tmp_path / "run", 1, step=2, save_steps=1)
    assert train.train(everything, tmp_path / "run") == 0
    assert_same_end(tmp_path / "uninterrupted", tmp_path / "run", "epoch-0002.weights.h5")


@pytest.mark.slow
def test_the_same_command_resumes_after_kill_9(trained_run, config, tmp_path):
    (tmp_path / "c.json").write_text(config.to_json())
    argv = ["-m", "kseg.train", "--config", tmp_path / "c.json", "--out", tmp_path / "run"]
    command = [sys.executable, *map(str, argv), "--save-steps", "1"]
    first = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    # Only state.json: resume_state also reads the weights, which the running training replaces.
    checkpoint = tmp_path / "run/last/state.json"
    while True:
        state = json.loads(checkpoint.read_text()) if checkpoint.is_file() else resume.START
        if state["epochs_done"] >= 1 or state["step"] >= 3:
            break
        assert first.poll() is None
        time.sleep(0.02)
    first.kill()
    first.wait()
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    assert_same_end(trained_run, tmp_path / "run", "epoch-0004.weights.h5")


def test_the_seconds_of_an_interrupted_epoch_are_added_up(tmp_path, monkeypatch):
    now = [100]
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: now[0])
    half_done = resume.START | {"epochs_done": 0, "step": 4, "seconds": 7.0, "metrics": []}
    saver = callbacks.SaveProgress(tmp_path, half_done, steps_per_epoch=6)
    saver.set_model(types.SimpleNamespace(optimizer=types.SimpleNamespace(learning_rate=1)))
    monkeypatch.setattr(saver.checkpoints, "save", lambda model, **state: None)
    saver.on_train_begin()
    for epoch in range(2):
        now[0] += 10
        saver.on_epoch_end(epoch, {"loss": 1.0, "val_mean_iou": -1.0})
    assert [row["seconds"] for row in run_history.read(tmp_path)] == ["17.0", "10"]
    assert run_history.training_seconds(tmp_path) == 27
    (tmp_path / "history.csv").write_text("epoch,seconds,val_mean_iou\n0,,0.1\n1,9.5,0.2\n")
    assert run_history.training_seconds(tmp_path) is None
    assert run_history.training_seconds(tmp_path / "nowhere") is None


def test_a_corrupt_checkpoint_falls_back_to_the_one_before(trained_run, tmp_path, capsys):
    last = shutil.copytree(trained_run, tmp_path / "run") / "last"
    assert resume.resume_state(tmp_path / "run")["epochs_done"] == 4
    newest = last / "epoch-0004.weights.h5"
    content = newest.read_bytes()
    for corrupt in (content[:-1], content[:5000] + bytes(100) + content[5100:]):
        newest.write_bytes(corrupt)
        assert resume.resume_state(tmp_path / "run")["epochs_done"] == 3
        assert "state.json" in capsys.readouterr().err
    newest.write_bytes(content)
    (last / "state.json").write_text('{"epochs_done": 4, "st')
    assert resume.resume_state(tmp_path / "run")["epochs_done"] == 3
    (last / "epoch-0003.weights.h5").unlink()
    with pytest.raises(InputError, match=f"{last}.*remove"):
        resume.resume_state(tmp_path / "run")


def test_a_corrupt_checkpoint_is_never_the_fallback(trained_run, tmp_path):
    last = shutil.copytree(trained_run, tmp_path / "run") / "last"
    newest = last / "epoch-0004.weights.h5"
    newest.write_bytes(b"corrupt")
    writer = resume.CheckpointWriter(tmp_path / "run", resume.resume_state(tmp_path / "run"))
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    writer.save(model, epochs_done=4, step=0, best=0.5, seconds=0.0)
    assert resume.resume_state(tmp_path / "run")["epochs_done"] == 4
    newest.write_bytes(b"corrupt again")
    assert resume.resume_state(tmp_path / "run")["epochs_done"] == 3


@pytest.mark.parametrize("cache", ["memory", pytest.param("none", marks=pytest.mark.slow)])
def test_a_corrupt_record_is_reported_in_one_line(config, tmp_path, capsys, cache):
    folder = shutil.copytree(config.data, tmp_path / "data")
    shard = next(folder.glob("*train*"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    argv = ["--config", tmp_path / "c.json", "--out", tmp_path / "run", "--cache", cache]
    (tmp_path / "c.json").write_text(dataclasses.replace(config, data=str(folder)).to_json())
    assert command(train.main, argv) == 2
    assert_one_line(capsys, f"{folder}: ", "record", "python -m tfrecords_tools.verify")


def test_a_run_of_an_older_version_can_be_resumed(trained_run, tmp_path):
    last = shutil.copytree(trained_run, tmp_path / "run") / "last"
    old = {"epochs_done": 4, "best": 0.5, "weights": "epoch-0004.weights.h5", "random": []}
    (last / "state.json").write_text(json.dumps(old))
    state = resume.resume_state(tmp_path / "run")
    assert (state["epochs_done"], state["step"]) == (4, 0)


def test_a_full_disk_leaves_the_last_good_weights(trained_run, tmp_path):
    model, _, _ = trained_model.load(trained_run)
    path = tmp_path / "w.weights.h5"
    path.write_bytes(b"the last good one")
    with files_of_at_most(200_000), pytest.raises(InputError, match="cannot be written"):
        trained_model.save_weights(model, path)
    assert path.read_bytes() == b"the last good one"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.slow
def test_a_run_resumes_after_the_disk_was_full(config, tmp_path, capsys):
    (tmp_path / "c.json").write_text(dataclasses.replace(config, epochs=1).to_json())
    argv = ["--config", tmp_path / "c.json", "--out", tmp_path / "run"]
    with files_of_at_most(200_000):
        assert command(train.main, argv) == 2
    assert_one_line(capsys, "best.weights.h5: ")
    assert command(train.main, argv) == 0
    assert len(history(tmp_path / "run")) == 1
    # The command writes TensorBoard files by default.
    folders = {p.name for p in (tmp_path / "run" / "tensorboard").iterdir()}
    assert folders == {"train", "validation", "pictures"}


def test_a_second_training_in_the_same_run_is_one_line_and_changes_nothing(
    trained_run, config, tmp_path, capsys
):
    (tmp_path / "c.json").write_text(config.to_json())
    before = {p: p.stat().st_mtime_ns for p in trained_run.rglob("*") if p.name != ".lock"}
    with run_folder.hold(trained_run):
        argv = ["--config", tmp_path / "c.json", "--out", trained_run]
        assert command(train.main, argv) == 2
    assert_one_line(capsys, trained_run, "kseg.train", f"process {os.getpid()} on ")
    after = {p: p.stat().st_mtime_ns for p in trained_run.rglob("*") if p.name != ".lock"}
    assert before == after


def test_masks_with_unknown_ids_end_the_training_in_one_line(config, tmp_path, capsys):
    # A hand-made shard: kseg's own tools refuse such masks.
    data = shutil.copytree(config.data, tmp_path / "data")
    image = cv2.imencode(".png", np.zeros((*config.size, 3), np.uint8))[1].tobytes()
    mask = cv2.imencode(".png", np.full(config.size, 7, np.uint8))[1].tobytes()
    example = records.encode("unknown", image, mask, config.size)
    manifest = json.loads((data / "manifest.json").read_text())
    shard = write_shard(data / manifest["splits"]["val"]["shards"][0]["name"], [example])
    manifest["splits"]["val"] |= {"examples": 1, "shards": [dataclasses.asdict(shard)]}
    (data / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "c.json").write_text(dataclasses.replace(config, data=str(data)).to_json())
    argv = ["--config", tmp_path / "c.json", "--out", tmp_path / "run"]
    assert command(train.main, argv) == 2
    assert_one_line(capsys, data, "'val'", "ids", "tfrecords_tools.verify")
    assert not (tmp_path / "run/best.weights.h5").exists()
    assert not (tmp_path / "run/history.csv").exists() and not (tmp_path / "run/last").exists()


def test_a_split_with_nothing_but_ignored_pixels_is_refused_at_once(config, tmp_path, capsys):
    manifest = json.loads((Path(config.data) / "manifest.json").read_text())
    manifest["splits"]["val"] |= {"pixels": [0, 0, 0]}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    argv = ["--data", tmp_path, "--out", tmp_path / "run"]
    assert command(train.main, argv) == 2
    assert_one_line(capsys, tmp_path, "'val'", "ignored")


def test_an_epoch_without_a_score_is_neither_the_best_nor_waited_for(tmp_path):
    rows = [{"epoch": str(i), "val_mean_iou": s} for i, s in enumerate(("nan", "0.5", "0.4"))]
    assert [run_history.is_over(rows, patience) for patience in (1, 2)] == [True, False]
    assert not run_history.is_over(rows[:1] * 9, 2)  # Nothing to compare with.
    assert run_history.best_row(run_history.to_numbers(rows))["epoch"] == 1
    run_history.write(tmp_path, rows)
    assert run_history.best_epoch(tmp_path) == 2


def test_patience_counts_epochs_since_the_best(tmp_path):
    (tmp_path / "history.csv").write_text("epoch,val_mean_iou\n0,0.1\n1,0.5\n2,0.5\n3,0.4\n")
    rows = run_history.read(tmp_path)
    assert [run_history.is_over(rows, patience) for patience in (1, 2, 3, 0)] == [
        True,
        True,
        False,
        False,
    ]


@pytest.mark.slow
def test_a_run_that_does_not_improve_stops_and_stays_stopped(config, tmp_path, capsys):
    # At so low a rate, no pixel changes its class.
    config = dataclasses.replace(config, learning_rate=1e-12, patience=1)
    for end in ("epoch 1 of 4", "already trained"):
        assert train.train(config, tmp_path / "run") == 0
        assert end in capsys.readouterr().out
        assert len(history(tmp_path / "run")) == 2


def test_a_finished_run_is_not_changed(trained_run, config, capsys):
    before = {p: p.stat().st_mtime_ns for p in trained_run.rglob("*.h5")}
    assert train.train(config, trained_run) == 0
    assert "already trained" in capsys.readouterr().out
    assert before == {p: p.stat().st_mtime_ns for p in trained_run.rglob("*.h5")}


def test_a_dry_run_describes_the_run_and_writes_nothing(config, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.json").write_text(config.to_json())
    argv = ["--config", "c.json", "--class-weights", "1", "2.5", "1", "--dry-run"]
    assert command(train.main, argv) == 0
    out = capsys.readouterr().out
    for part in ('"class_weights": "1 2.5 1"', "train: 24", "M parameters", "MB for weights"):
        assert part in out
    assert "one step of 4 frames" in out and "nothing was written" in out
    assert [p.name for p in tmp_path.iterdir()] == ["c.json"]


def test_the_first_line_names_the_device_and_a_missing_gpu_is_an_error_on_request(
    trained_run, config, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(backend_devices, "find", lambda all_hosts=False: [])
    (tmp_path / "c.json").write_text(config.to_json())
    flags = ["--config", tmp_path / "c.json", "--require-gpu"]
    for more in (["--dry-run"], []):
        assert command(train.main, [*flags, "--out", tmp_path / "run", *more]) == 2
        assert_one_line(capsys, "--require-gpu", "TensorFlow sees no GPU")
        assert not (tmp_path / "run").exists()
    assert command(train.main, [*flags[:2], "--out", trained_run]) == 0
    assert capsys.readouterr().out.startswith("device: CPU, ")


def test_a_run_records_what_auto_chose_and_keeps_it_on_another_device(
    config, tmp_path, monkeypatch, capsys
):
    h100 = backend_devices.Device("gpu", "NVIDIA H100", (9, 0))
    monkeypatch.setattr(backend_devices, "find", lambda all_hosts=False: [h100])
    monkeypatch.setattr(train, "_fit", lambda *job: raise_killed())
    auto = dataclasses.replace(config, mixed_precision="auto")
    with pytest.raises(Killed):
        train.train(auto, tmp_path / "run")
    recorded = run_folder.read_run(tmp_path / "run")[0]
    assert recorded == dataclasses.replace(auto, mixed_precision="bfloat16")
    assert capsys.readouterr().out.startswith("device: 1 x NVIDIA H100 (TensorFlow)\n")
    monkeypatch.setattr(backend_devices, "find", lambda all_hosts=False: [])
    with pytest.raises(Killed):
        train.train(auto, tmp_path / "run")
    assert "bfloat16, as this run began" in capsys.readouterr().out


def test_a_run_with_another_config_is_refused(trained_run, config):
    with pytest.raises(InputError, match="batch_size 4 then, 2 now"):
        train.train(dataclasses.replace(config, batch_size=2), trained_run)


def test_a_run_on_rebuilt_data_is_refused(trained_run, config, dataset, tmp_path):
    rebuilt = shutil.copytree(dataset, tmp_path / "rebuilt")
    copy = shutil.copytree(trained_run, tmp_path / "run")
    moved = dataclasses.replace(config, data=str(rebuilt))
    (copy / "config.json").write_text(moved.to_json())
    assert train.train(moved, copy) == 0  # The same data in another folder.
    document = json.loads((rebuilt / "manifest.json").read_text())
    document["request"]["inputs"] = "of other files"
    (rebuilt / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match="rebuilt"):
        train.train(moved, copy)


def test_refused_input_leaves_no_run_folder(config, tmp_path):
    for wrong in ({"batch_size": 99}, {"fit": "crop"}, {"encoder_weights": "nowhere.h5"}):
        with pytest.raises(InputError):
            train.train(dataclasses.replace(config, **wrong), tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_a_folder_that_is_not_a_run_is_not_changed(config, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match=r"not a run.*--out"):
        train.train(config, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_missing_data_is_one_line_and_leaves_no_run_folder(tmp_path, capsys):
    argv = ["--data", tmp_path / "nothing", "--out", tmp_path / "run"]
    assert command(train.main, argv) == 2
    assert_one_line(capsys, "nothing", "tfrecords_tools.build")
    assert not (tmp_path / "run").exists()


def test_an_unknown_config_key_is_one_line(tmp_path, capsys):
    (tmp_path / "c.json").write_text('{"epoch": 3}')
    assert command(train.main, ["--config", tmp_path / "c.json"]) == 2
    assert_one_line(capsys, "c.json", "'epoch'", "'epochs'")


@pytest.mark.parametrize(
    "other", [{"model": "segformer_b0"}, {"encoder_alpha": 0.5}, {"decoder_channels": 24}]
)
def test_weights_of_another_architecture_are_refused(trained_run, tmp_path, other):
    copy = tmp_path / "run"
    shutil.copytree(trained_run, copy, ignore=shutil.ignore_patterns("last"))
    config = dataclasses.replace(run_folder.read_run(copy)[0], **other)
    (copy / "config.json").write_text(config.to_json())
    with pytest.raises(InputError, match=r"best\.weights\.h5"):
        trained_model.load(copy)


def test_truncated_weights_are_refused(trained_run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(trained_run, copy, ignore=shutil.ignore_patterns("last"))
    path = copy / "best.weights.h5"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InputError, match=r"best\.weights\.h5"):
        trained_model.load(copy)


def test_a_diverging_run_fails_with_advice(config, tmp_path, capsys):
    config = dataclasses.replace(config, learning_rate=1e30, epochs=1)
    assert train.train(config, tmp_path / "run") == 1
    assert "lower --learning-rate" in capsys.readouterr().err


@pytest.mark.parametrize(("loss", "expected"), [(0.5, [(0, 1)]), (float("nan"), [])])
def test_a_step_whose_loss_is_not_finite_is_not_saved(tmp_path, monkeypatch, loss, expected):
    saver = callbacks.SaveProgress(tmp_path, resume.START, steps_per_epoch=9, save_steps=1)
    saved = []
    monkeypatch.setattr(
        saver.checkpoints,
        "save",
        lambda model, **state: saved.append((state["epochs_done"], state["step"])),
    )
    saver.set_model(None)
    saver.on_train_begin()
    saver.on_epoch_begin(0)
    saver.on_train_batch_end(0, {"loss": loss})
    assert saved == expected


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"NUM_PROCESSES": "4", "JOB_ADDRESSES": "a:1"}, "NUM_PROCESSES is 4, but 1 "),
        ({"NUM_PROCESSES": "4"}, "NUM_PROCESSES is 4, but 0 "),
    ],
)
def test_contradicting_environment_variables_are_refused(monkeypatch, capsys, environment, words):
    for name, value in environment.items():
        monkeypatch.setenv(f"KERAS_DISTRIBUTION_{name}", value)
    assert command(train.main, []) == 2
    assert words in capsys.readouterr().err


def test_a_process_id_in_the_environment_must_be_a_number(monkeypatch, capsys):
    monkeypatch.setenv("KERAS_DISTRIBUTION_PROCESS_ID", "first")
    with pytest.raises(SystemExit):
        command(train.main, [])
    err = capsys.readouterr().err
    assert "--host" in err and "'first'" in err


def test_training_on_two_data_sets_resumes_to_the_same_weights(
    mixed_config, tmp_path, monkeypatch, capsys
):
    config = dataclasses.replace(mixed_config, epochs=1, loss="cross_entropy+dice")
    assert train.train(config, tmp_path / "uninterrupted") == 0
    out = capsys.readouterr().out
    for part in ("24 training frames; 12 steps of 4", "10 training frames, 2 of the 4", "unclear="):
        assert part in out
    assert "road=direct|alternative" in out
    # 5 steps show the other data set once. The run goes on within its second pass.
    train_until(monkeypatch, config, tmp_path / "run", 0, step=9, save_steps=3)
    assert resume.resume_state(tmp_path / "run")["step"] == 6
    assert train.train(config, tmp_path / "run") == 0
    assert_same_end(tmp_path / "uninterrupted", tmp_path / "run", "epoch-0001.weights.h5")
    rows = history(tmp_path / "run")
    assert all(0 <= float(row[f"{of}mean_iou"]) <= 1 for row in rows for of in ("", "val_"))
    assert run_folder.read_run(tmp_path / "run")[0].also == config.also


def test_a_mixture_of_which_a_data_set_was_rebuilt_is_refused(
    mixed_config, road_dataset, tmp_path, capsys
):
    rebuilt = shutil.copytree(road_dataset, tmp_path / "rebuilt")
    also = mixed_config.also[0].replace(str(road_dataset), str(rebuilt))
    config = dataclasses.replace(mixed_config, also=(also,), epochs=1)
    manifest = read_manifest(config.data)
    run_folder.start_run(tmp_path / "run", config, manifest)
    run_folder.start_run(tmp_path / "run", config, manifest)
    document = json.loads((rebuilt / "manifest.json").read_text())
    document["request"]["inputs"] = "of other files"
    (rebuilt / "manifest.json").write_text(json.dumps(document))
    (tmp_path / "c.json").write_text(config.to_json())
    argv = ["--config", tmp_path / "c.json", "--out", tmp_path / "run"]
    assert command(train.main, argv) == 2
    assert_one_line(capsys, tmp_path / "run", "rebuilt")


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ([], ["'road'", "road=CLASS|CLASS"]),
        (["road=lane", "*=ignore"], ["'lane'", "nearest"]),
        (["4", "road=direct", "*=ignore"], ["batch of 4", "--batch-size"]),
    ],
)
def test_a_wrong_mixture_is_one_line_and_leaves_no_run_folder(
    config, road_dataset, tmp_path, capsys, words, parts
):
    (tmp_path / "c.json").write_text(config.to_json())
    argv = ["--config", tmp_path / "c.json", "--out", tmp_path / "run", "--also", road_dataset]
    assert command(train.main, [*argv, *words]) == 2
    assert_one_line(capsys, "--also", *parts)
    assert not (tmp_path / "run").exists()


def test_class_weights_are_those_of_the_main_data_set(config, mixed_config):
    from kseg.training import build_training

    manifest = read_manifest(config.data)
    auto = [dataclasses.replace(c, class_weights="auto") for c in (config, mixed_config)]
    assert len({tuple(build_training.class_weights(c, manifest)) for c in auto}) == 1
