import csv
import dataclasses
import json
import shutil

import h5py
import numpy as np
import pytest

from kseg import checkpoints, train
from kseg.errors import InputError
from tests.conftest import assert_one_line, command


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
    with (run / "history.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_run_folder_holds_what_everything_else_reads(run_folder, config):
    names = {p.name for p in run_folder.iterdir()}
    assert {"config.json", "labels.json", "best.weights.h5", "history.csv", "curves.png"} <= names
    assert checkpoints.read_run(run_folder)[0] == config
    rows = history(run_folder)
    assert [row["epoch"] for row in rows] == ["0", "1", "2", "3"]
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    # No optimizer state in the file that everybody copies.
    with h5py.File(run_folder / "best.weights.h5") as file:
        assert "optimizer" not in file


class Killed(Exception):
    pass


def test_a_killed_run_resumes_to_the_same_weights(
    run_folder, config, tmp_path, monkeypatch, capsys
):
    # Killed in the second epoch's save, between writing the weights and declaring them done.
    write = checkpoints.write

    def killed_write(path, text):
        if path.name == "state.json" and json.loads(text)["epochs_done"] == 2:
            raise Killed
        write(path, text)

    monkeypatch.setattr(checkpoints, "write", killed_write)
    with pytest.raises(Killed):
        train.train(config, tmp_path / "run")
    monkeypatch.setattr(checkpoints, "write", write)
    assert train.train(config, tmp_path / "run") == 0
    assert "resuming after epoch 1" in capsys.readouterr().out
    whole = weights_in(run_folder / "last" / "epoch-0004.weights.h5")
    resumed = weights_in(tmp_path / "run" / "last" / "epoch-0004.weights.h5")
    assert whole.keys() == resumed.keys() and any("optimizer" in name for name in whole)
    for name in whole:
        assert np.array_equal(whole[name], resumed[name]), name
    assert history(run_folder) == history(tmp_path / "run")


def test_a_finished_run_is_left_alone(run_folder, config, capsys):
    before = {p: p.stat().st_mtime_ns for p in run_folder.rglob("*.h5")}
    assert train.train(config, run_folder) == 0
    assert "already trained" in capsys.readouterr().out
    assert before == {p: p.stat().st_mtime_ns for p in run_folder.rglob("*.h5")}


def test_a_run_with_another_config_is_not_touched(run_folder, config):
    with pytest.raises(InputError, match="batch_size 4 then, 2 now"):
        train.train(dataclasses.replace(config, batch_size=2), run_folder)


def test_a_run_on_data_that_was_built_anew_is_not_continued(run_folder, config, dataset, tmp_path):
    anew = shutil.copytree(dataset, tmp_path / "anew")
    copy = shutil.copytree(run_folder, tmp_path / "run")
    moved = dataclasses.replace(config, data=str(anew))
    (copy / "config.json").write_text(moved.to_json())
    assert train.train(moved, copy) == 0  # The same data in another place.
    document = json.loads((anew / "manifest.json").read_text())
    document["request"]["inputs"] = "of other files"
    (anew / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match="built anew"):
        train.train(moved, copy)


def test_what_is_refused_leaves_no_run_in_the_way(config, tmp_path):
    for wrong in ({"batch_size": 99}, {"fit": "crop"}, {"encoder_weights": "nowhere.h5"}):
        with pytest.raises(InputError):
            train.train(dataclasses.replace(config, **wrong), tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_a_folder_that_is_no_run_is_not_touched(config, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="is no run of kseg"):
        train.train(config, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_no_data_gets_one_line_and_no_run_folder(tmp_path, capsys):
    argv = ["--data", tmp_path / "nothing", "--out", tmp_path / "run"]
    assert command(train.main, argv) == 2
    assert_one_line(capsys, "nothing", "tfrecords_tools.build")
    assert not (tmp_path / "run").exists()


def test_unknown_config_key_gets_one_line(tmp_path, capsys):
    (tmp_path / "c.json").write_text('{"epoch": 3}')
    assert command(train.main, ["--config", tmp_path / "c.json"]) == 2
    assert_one_line(capsys, "unknown key 'epoch'; did you mean 'epochs'")


@pytest.mark.parametrize(
    "other", [{"model": "segformer_b0"}, {"encoder_alpha": 0.5}, {"decoder_channels": 24}]
)
def test_weights_of_another_architecture_are_refused(run_folder, tmp_path, other):
    copy = tmp_path / "run"
    shutil.copytree(run_folder, copy, ignore=shutil.ignore_patterns("last"))
    config = dataclasses.replace(checkpoints.read_run(copy)[0], **other)
    (copy / "config.json").write_text(config.to_json())
    with pytest.raises(InputError, match=r"best.weights.h5: does not hold the weights of"):
        checkpoints.load(copy)


def test_truncated_weights_are_refused(run_folder, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run_folder, copy, ignore=shutil.ignore_patterns("last"))
    path = copy / "best.weights.h5"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InputError, match=r"best.weights.h5"):
        checkpoints.load(copy)


def test_a_diverging_run_says_so(config, tmp_path, capsys):
    config = dataclasses.replace(config, learning_rate=1e30, epochs=1)
    assert train.train(config, tmp_path / "run") == 1
    assert "lower --learning-rate" in capsys.readouterr().err
