import dataclasses
import types

import keras
import pytest
import tensorflow as tf

from kseg import train
from kseg.runtime import backend_devices
from kseg.training import out_of_memory
from tests.conftest import assert_one_line, command


def tensorflow_error():
    tf.zeros([2**22, 2**24])  # 256 TiB: more than a process can address.


def jax_error():
    jax = pytest.importorskip("jax", reason="the extra `jax` is not installed")
    jax.numpy.zeros((2**22, 2**24)).block_until_ready()


def without_memory(*args, **options):
    tensorflow_error()


@pytest.mark.parametrize("allocate", [tensorflow_error, jax_error])
def test_both_backends_errors_are_recognized_with_what_they_asked_for(config, allocate):
    line = "the weights of deeplab.* asked for 281,475 GB at once"
    with pytest.raises(out_of_memory.OutOfMemory, match=line), out_of_memory.reported(config):
        allocate()


def test_the_error_of_a_later_read_of_deleted_arrays_does_not_hide_it(config):
    with pytest.raises(out_of_memory.OutOfMemory), out_of_memory.reported(config):
        try:
            tensorflow_error()
        finally:
            raise RuntimeError("Array has been deleted")


@pytest.mark.parametrize(
    "error",
    [
        tf.errors.ResourceExhaustedError(None, None, "run/events; No space left on device"),
        ValueError("out of memory"),
    ],
)
def test_other_errors_stay_what_they_are(config, error):
    with pytest.raises(type(error)), out_of_memory.reported(config):
        raise error


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("RESOURCE_EXHAUSTED: Out of memory allocating 4096 bytes.", 4096),
        ("Out of memory while trying to allocate 1.50GiB.", 3 * 2**29),
        ("OOM when allocating tensor with shape[2,3,4] and type half on /job:x", 48),
        ("OOM when allocating tensor with shape[] and type float on /job:x", 4),
        ("failed to allocate memory", None),
    ],
)
def test_the_size_that_was_asked_for_is_read_from_the_message(text, expected):
    assert out_of_memory.requested_bytes(RuntimeError(text)) == expected


@pytest.mark.parametrize(
    ("limit", "requested", "expected"),
    [
        (1000, None, 4),  # 200 of state leave 800, 200 for each frame.
        (1000, 3200, 2),  # The failed allocation alone takes 400 for each frame.
        (9000, None, 4),  # The estimate says that it fits, which it did not: half.
        (None, None, 4),
        (150, None, 0),
    ],
)
def test_the_largest_batch_by_hand(limit, requested, expected):
    state, activations = 200, 1600
    fitting = out_of_memory.largest_batch(8, state, activations, limit=limit, requested=requested)
    assert fitting == expected


def test_a_step_that_does_not_fit_is_one_line_and_leaves_no_run_folder(
    config, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(keras.Model, "fit", without_memory)
    (tmp_path / "c.json").write_text(config.to_json())
    argv = ["--config", tmp_path / "c.json", "--out", tmp_path / "run"]
    assert command(train.main, argv) == 2
    assert_one_line(
        capsys,
        "out of memory",
        "4 frames of 64x97",
        "GB at once",
        "--batch-size 2",
        "--gradient-accumulation-steps 2",
        "bfloat16",
        "--size",
    )
    assert not (tmp_path / "run").exists()


def test_a_run_that_has_begun_keeps_its_checkpoints(config, trained_run, monkeypatch, capsys):
    before = {p: p.read_bytes() for p in trained_run.rglob("*") if p.is_file()}
    monkeypatch.setattr(train, "_is_trained", lambda job: False)
    monkeypatch.setattr(keras.Model, "fit", without_memory)
    (trained_run.parent / "c.json").write_text(config.to_json())
    argv = ["--config", trained_run.parent / "c.json", "--out", trained_run]
    assert command(train.main, argv) == 2
    assert_one_line(capsys, "out of memory")
    assert before == {p: p.read_bytes() for p in trained_run.rglob("*") if p.is_file()}


def test_a_dry_run_reports_it_too(config, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(keras.Model, "fit", without_memory)
    config = dataclasses.replace(config, mixed_precision="bfloat16", batch_size=1)
    (tmp_path / "c.json").write_text(config.to_json())
    assert command(train.main, ["--config", tmp_path / "c.json", "--dry-run"]) == 2
    assert_one_line(capsys, "1 frame of 64x97", "in bfloat16 does not fit", "use a smaller --size")


def test_the_limit_of_the_device_decides_where_it_is_known(config, monkeypatch):
    image = keras.Input((4, 6, 3))
    model = keras.Model(image, keras.layers.Conv2D(5, 1)(image))
    model.compile("sgd", "mse")
    monkeypatch.setattr(backend_devices, "find", lambda **_: [types.SimpleNamespace(name="H100")])
    state, activations = out_of_memory.estimate(model, 1)
    monkeypatch.setattr(backend_devices, "memory_limit", lambda: state + 3 * activations)
    line = out_of_memory.describe(config, model, 1, None)
    assert "H100" in line and "--batch-size 3" in line
    # Each of two devices holds half of the batch.
    monkeypatch.setattr(backend_devices, "memory_limit", lambda: state + activations)
    assert "--batch-size 2 " in out_of_memory.describe(config, model, 2, None)
