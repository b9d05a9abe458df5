import dataclasses
import json

import keras
import pytest
import tensorflow as tf

from kseg import run_folder, train
from kseg.errors import InputError
from kseg.manifest import read_manifest
from kseg.runtime import backend_devices
from kseg.training import batch_size, batch_trial
from tests.conftest import assert_one_line, command


def device(state, per_frame, limit, jump=None):
    """A device on which a batch of n frames takes state + n * per_frame bytes; and its trials."""
    tried = []

    def try_size(size):
        tried.append(size)
        needed = state + size * per_frame + (500 if jump and size >= jump else 0)
        return needed if needed <= limit else None

    return try_size, tried


@pytest.mark.parametrize(
    ("state", "per_frame", "start", "most", "unit", "expected", "trials"),
    [
        (100, 10, 8, 999, 1, 90, 3),  # 8, 16, and by extrapolation 90.
        (100, 10, 8, 999, 4, 88, 3),
        (100, 10, 8, 24, 1, 24, 3),  # No more frames in the data set.
        (100, 10, 256, 999, 1, 90, 7),  # 256, 128, then 64, which fits.
        (990, 20, 8, 999, 1, 0, 4),  # 8, 4, 2, 1.
        (0, 600, 2, 999, 1, 1, 2),
    ],
)
def test_the_search_by_hand(state, per_frame, start, most, unit, expected, trials):
    try_size, tried = device(state, per_frame, 1000)
    found = batch_size.search(try_size, start=start, most=most, unit=unit, limit=lambda: 1000)
    assert found == expected and len(tried) <= trials, tried
    assert all(size % unit == 0 and size <= max(most, start) for size in tried)


def test_memory_that_does_not_grow_evenly_is_used_almost_up():
    try_size, tried = device(100, 10, 1000, jump=30)  # From 30 frames on other buffers: 40 fit.
    found = batch_size.search(try_size, start=8, most=999, unit=1, limit=lambda: 1000)
    assert 34 <= found <= 40 and len(tried) < 9, tried  # 34 frames take 940 of 1000.


def fake_trials(monkeypatch, most):
    """As on a device of 1 GB that takes `most` frames. Returns the batch sizes that were tried."""
    tried = []

    def trial(config, devices):
        tried.append(config.batch_size)
        fits = config.batch_size <= most
        return {"limit": 10**9, "peak": config.batch_size * int(9e8 / most) if fits else None}

    monkeypatch.setattr(batch_size, "_try", trial)
    return tried


def test_a_run_records_the_batch_size_that_auto_found_and_resumes_with_it(
    config, tmp_path, monkeypatch, capsys
):
    tried = fake_trials(monkeypatch, 6)
    (tmp_path / "c.json").write_text(dataclasses.replace(config, epochs=1).to_json())
    argv = ["--config", tmp_path / "c.json", "--batch-size", "auto", "--out", tmp_path / "run"]
    assert command(train.main, argv) == 0
    assert run_folder.read_run(tmp_path / "run")[0].batch_size == 6 and tried == [4, 8, 6]
    out = capsys.readouterr().out
    assert "8 frames: do not fit of 1 GB" in out and "batch size: 6 (auto)" in out
    assert "4 steps of 6 frames" in out
    monkeypatch.setattr(batch_size, "_try", None)
    assert command(train.main, argv) == 0
    assert "batch size: 6, as this run began" in capsys.readouterr().out
    # The flag is the same as the number.
    assert command(train.main, [*argv[:2], "--batch-size", "6", *argv[4:]]) == 0
    assert "already trained" in capsys.readouterr().out


def test_where_the_memory_is_unknown_auto_is_refused(config, tmp_path, capsys):
    (tmp_path / "c.json").write_text(config.to_json())
    argv = ["--config", tmp_path / "c.json", "--batch-size", "auto", "--out", tmp_path / "run"]
    assert command(train.main, argv) == 2
    assert_one_line(capsys, "--batch-size auto", "CPU", "give a number")
    assert not (tmp_path / "run").exists()


def test_other_commands_refuse_auto(tmp_path, capsys):
    from kseg.compare import __main__ as compare

    assert command(compare.main, ["--batch-size", "auto", "--out", tmp_path / "c"]) == 2
    assert_one_line(capsys, "--batch-size auto", "kseg.train")


def test_a_trial_trains_and_validates_and_reports_the_peak(config, monkeypatch):
    manifest, called = read_manifest(config.data), []
    monkeypatch.setattr(backend_devices, "memory_limit", lambda: 1000)
    monkeypatch.setattr(backend_devices, "peak_memory", lambda: 700)
    evaluate = keras.Model.evaluate
    monkeypatch.setattr(
        keras.Model, "evaluate", lambda *a, **k: (called.append(k), evaluate(*a, **k))[1]
    )
    small = dataclasses.replace(config, batch_size=1)
    assert batch_trial.measure(small, manifest, 1) == {"limit": 1000, "peak": 700}
    assert called
    monkeypatch.setattr(keras.Model, "fit", lambda *a, **k: tf.zeros([2**22, 2**24]))
    assert batch_trial.measure(small, manifest, 1) == {"limit": 1000, "peak": None}


def test_a_trial_that_fails_otherwise_is_not_taken_for_a_lack_of_memory(config, tmp_path):
    manifest = json.dumps({"damaged": True})
    (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(InputError, match="auto: 4 frames: "):
        batch_size._try(dataclasses.replace(config, data=str(tmp_path)), 1)
