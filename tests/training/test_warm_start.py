import dataclasses
import json
import os
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest

from kseg import init_source, published_models, run_folder, train, trained_model
from kseg.config import Config
from kseg.errors import InputError
from kseg.labels import LabelClass, LabelSet
from kseg.manifest import Manifest
from kseg.models.auxiliary import add_auxiliary
from kseg.training import warm_start
from tests.conftest import JAX, ROOT, assert_one_line, command, randomize
from tests.models.test_models import DEEPLAB, FAMILIES, SEGFORMER
from tests.test_train import assert_same_end, history, train_until

THIN = {"encoder_alpha": 0.35, "decoder_channels": 8}


def labels(*names):
    return LabelSet("test", tuple(LabelClass(name, (i, 0, 0)) for i, name in enumerate(names)))


ROAD = labels("road", "pavement", "rest")


def write_source(folder, config, label_set=ROAD, seed=3):
    """Writes a run folder with random best weights. Returns its model."""
    model = trained_model.build_model(config, label_set)
    randomize(model, seed)
    run_folder.start_run(folder, config, Manifest("test", label_set, None, {}, {}))
    model.save_weights(folder / run_folder.BEST)
    return model


def started(source, label_set=ROAD, config=None, **changes):
    """Returns (a model that started from `source`, the printed line)."""
    config = config or init_source.find(str(source)).config
    config = dataclasses.replace(config, init=str(source), **changes)
    model = trained_model.build_model(config, label_set)
    return model, warm_start.warm_start(model, config, label_set)


def by_path(model):
    return {w.path: keras.ops.convert_to_numpy(w) for w in model.weights}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_takes_all_but_a_class_layer_of_other_classes_at_another_size(
    family, tmp_path
):
    config = Config(model=family, size=(64, 97), **THIN)
    theirs = by_path(write_source(tmp_path / "run", config))
    model, line = started(
        tmp_path / "run", labels("lane", "rest"), size=(33, 40), freeze_encoder=family != "unet"
    )
    ours = by_path(model)
    assert ours.keys() == theirs.keys()
    for path, value in ours.items():
        if path.startswith("logits_conv"):
            assert value.shape[-1] == 2 and not np.any(value == theirs[path][..., :2])
        else:
            assert np.array_equal(value, theirs[path]), path
    assert f"{len(ours) - 2} of {len(ours)} weight tensors taken" in line
    assert "fresh: logits_conv (3 -> 2 classes)" in line


def test_the_same_classes_are_taken_in_any_order(tmp_path):
    config = Config(size=(33, 40), **THIN)
    theirs = write_source(tmp_path / "run", config)
    image = np.random.default_rng(0).uniform(0, 255, (1, 33, 40, 3)).astype(np.float32)
    model, line = started(tmp_path / "run")
    assert np.array_equal(model(image), theirs(image)) and "fresh" not in line
    model, line = started(tmp_path / "run", labels("rest", "road", "pavement"))
    assert np.array_equal(model(image), theirs(image).numpy()[..., [2, 0, 1]])
    assert "mapped: logits_conv (classes reordered by name)" in line
    model, line = started(tmp_path / "run", labels("road", "pavement", "sky"))
    assert "fresh: logits_conv (other classes: road, pavement, rest)" in line


def test_a_file_outside_a_run_has_no_class_names(tmp_path):
    config = Config(size=(33, 40), **THIN)
    theirs = by_path(write_source(tmp_path / "run", config))
    file = shutil.copy(tmp_path / "run" / run_folder.BEST, tmp_path / "x.weights.h5")
    assert init_source.architecture(str(file)) == {}
    model, line = started(file, labels("a", "b", "c"), config)
    assert all(np.array_equal(value, theirs[path]) for path, value in by_path(model).items())
    assert "no class names" in line
    _, line = started(file, labels("a", "b"), config)
    assert "3 -> 2 classes" in line
    with pytest.raises(InputError, match=r"encoder_alpha 1.*--encoder-alpha"):
        started(file, ROAD, Config(size=(33, 40), decoder_channels=8))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"encoder_alpha": 0.5}, "encoder_alpha 0.35 instead of 0.5; use --encoder-alpha 0.35"),
        ({"decoder_channels": 16}, "decoder_channels 8 instead of 16"),
        ({"model": SEGFORMER}, f"model {DEEPLAB} instead of {SEGFORMER}"),
        # As many layers as before, and more or fewer of them.
        ({"model": "deeplab_v3_plus_mobilenet_edge"}, "instead of deeplab_v3_plus_mobilenet_edge"),
    ],
)
def test_another_architecture_is_refused_by_its_config_key(tmp_path, change, words):
    write_source(tmp_path / "run", Config(size=(33, 40), **THIN))
    with pytest.raises(InputError, match=words):
        started(tmp_path / "run", **change)


def test_a_source_with_more_or_fewer_layers_than_the_model_is_refused(tmp_path):
    fine = Config(size=(33, 40), model="unet_mobilenet_v2", output_stride=32, **THIN)
    write_source(tmp_path / "run", fine)
    with pytest.raises(InputError, match="output_stride 32 instead of 16"):
        started(tmp_path / "run", output_stride=16)
    model = trained_model.build_model(config := Config(size=(33, 40), **THIN), ROAD)
    more = keras.layers.Conv2D(3, 1, name="extra")(model.output)
    less = model.get_layer("decoder_2_relu").output
    for output, layer in ((more, "extra"), (less, "logits_conv")):
        keras.Model(model.input, output).save_weights(tmp_path / "x.weights.h5")
        with pytest.raises(InputError, match=f"its weights of {layer} do not fit"):
            started(tmp_path / "x.weights.h5", ROAD, config)


def test_another_output_stride_is_fine_where_the_layers_are_the_same(tmp_path):
    write_source(tmp_path / "run", Config(size=(33, 40), model="fcn_mobilenet_v2", **THIN))
    assert "fresh" not in started(tmp_path / "run", output_stride=8)[1]


def test_an_auxiliary_head_is_fresh_or_not_used_or_taken(tmp_path):
    config = Config(size=(33, 40), model="fcn_resnet50", decoder_channels=8)
    plain = write_source(tmp_path / "run", config)
    with_head = add_auxiliary(trained_model.build_model(config, ROAD), 0.4)
    config = dataclasses.replace(config, init=str(tmp_path / "run"))
    line = warm_start.warm_start(with_head, config, ROAD)
    assert f"{len(plain.weights)} of {len(with_head.weights)}" in line
    assert "fresh: auxiliary_conv (only in training)" in line
    checkpoint = tmp_path / "run/last/epoch-0001.weights.h5"
    checkpoint.parent.mkdir()
    randomize(with_head, seed=5)
    with_head.save_weights(checkpoint)
    config = dataclasses.replace(config, init=str(checkpoint))
    assert "not used: auxiliary" in warm_start.warm_start(plain, config, ROAD)
    assert np.array_equal(plain.get_weights()[0], with_head.get_weights()[0])
    other = add_auxiliary(trained_model.build_model(config, labels("a", "b")), 0.4)
    line = warm_start.warm_start(other, config, labels("a", "b"))
    assert "auxiliary_logits_conv (3 -> 2 classes)" in line


@pytest.mark.parametrize("damage", ["truncated", "of another library", "text"])
def test_a_file_that_holds_no_model_is_one_line(tmp_path, damage):
    write_source(tmp_path / "run", Config(size=(33, 40), **THIN))
    file = tmp_path / "run" / run_folder.BEST
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:20000])
    elif damage == "text":
        file.write_text("version https://git-lfs.github.com/spec/v1")
    else:
        import h5py

        with h5py.File(file, "w") as h5:
            h5["conv/kernel"] = np.zeros(3)
    with pytest.raises(InputError, match=f"{file}: "):
        started(tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("model", [DEEPLAB, SEGFORMER])
def test_weights_of_another_backend_are_taken(model, tmp_path):
    config = Config(size=(33, 40), model=model, **THIN)
    theirs = write_source(tmp_path / "tensorflow", config)
    code = f"""
import dataclasses, keras, pathlib
from kseg import run_folder
from tests.training.test_warm_start import *
assert keras.backend.backend() == "jax"
folder = pathlib.Path({str(tmp_path)!r})
model, line = started(folder / "tensorflow")
assert "fresh" not in line
run_folder.start_run(folder / "jax", Config(**{dataclasses.asdict(config)!r}),
                     Manifest("test", ROAD, None, {{}}, {{}}))
model.save_weights(folder / "jax" / run_folder.BEST)
"""
    environment = os.environ | JAX
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env=environment)
    model, line = started(tmp_path / "jax")
    assert "fresh" not in line
    for ours, expected in zip(model.get_weights(), theirs.get_weights(), strict=True):
        assert np.array_equal(ours, expected)


def fine_tuning(config, source, **changes):
    return dataclasses.replace(config, init=str(source), epochs=2, ema_momentum=0.9, **changes)


@pytest.mark.slow
def test_fine_tuning_resumes_bit_exactly_without_its_source(
    trained_run, config, tmp_path, monkeypatch, capsys
):
    source = shutil.copytree(trained_run, tmp_path / "source")
    config = fine_tuning(config, source)
    assert train.train(config, tmp_path / "uninterrupted") == 0
    assert f"init: {source}" in capsys.readouterr().out
    # It goes on where the source was, which random weights would not reach in an epoch.
    before = max(float(row["val_mean_iou"]) for row in history(trained_run))
    assert float(history(tmp_path / "uninterrupted")[0]["val_mean_iou"]) > before - 0.1
    (tmp_path / "c.json").write_text("{}")
    train_until(monkeypatch, config, tmp_path / "run", 1, step=4, save_steps=2)
    shutil.rmtree(source)
    capsys.readouterr()
    given = {"init": str(source), "model": None, "encoder_alpha": None, "decoder_channels": None}
    settings = dataclasses.asdict(config) | given
    file = {key: value for key, value in settings.items() if value is not None}
    (tmp_path / "c.json").write_text(json.dumps(file))
    argv = ["--config", tmp_path / "c.json", "--out", tmp_path / "run", "--no-tensorboard"]
    assert command(train.main, argv) == 0
    assert "init:" not in capsys.readouterr().out
    assert_same_end(tmp_path / "uninterrupted", tmp_path / "run", "epoch-0002.weights.h5")


def test_the_command_takes_the_architecture_of_the_source(trained_run, config, tmp_path, capsys):
    # The preset has decoder_channels 64, the source 16. With the config of a run that started from
    # an encoder, init takes the place of that encoder.
    (tmp_path / "c.json").write_text('{"encoder_weights": "imagenet"}')
    argv = ["--init", trained_run, "--data", config.data, "--size", *config.size, "--dry-run"]
    assert command(train.main, [*argv, "--config", tmp_path / "c.json"]) == 0
    assert f"init: {trained_run}, {DEEPLAB} (encoder_alpha 0.35" in capsys.readouterr().out


def test_the_architecture_of_a_started_run_needs_no_source(tmp_path):
    config = Config(init="gone", **THIN)
    run_folder.start_run(tmp_path / "run", config, Manifest("test", ROAD, None, {}, {}))
    found = init_source.architecture("gone", tmp_path / "run")
    assert found["decoder_channels"] == 8 and found["model"] == DEEPLAB
    for other in ("elsewhere", "none"):
        with pytest.raises(InputError, match=f"init {other}"):
            init_source.architecture(other, tmp_path / "run")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--decoder-channels", 24], ["decoder_channels 16 instead of 24"]),
        (["--encoder-weights", "imagenet"], ["encoder_weights", "init"]),
        (["--init", "lamps"], ["lamps", "published: "]),
        (["--init", ROOT / "README.md"], ["README.md", ".weights.h5"]),
    ],
)
def test_a_refused_init_is_one_line_and_writes_nothing(
    trained_run, config, tmp_path, capsys, flags, words
):
    argv = ["--init", trained_run, "--data", config.data, "--size", *config.size]
    assert command(train.main, [*argv, "--out", tmp_path / "run", *flags]) == 2
    assert_one_line(capsys, *words)
    assert not list(tmp_path.iterdir())


def test_a_run_without_weights_is_no_source(trained_run, tmp_path):
    copy = shutil.copytree(trained_run, tmp_path / "run")
    (copy / run_folder.BEST).unlink()
    with pytest.raises(InputError, match="train it for at least one epoch"):
        init_source.find(str(copy))


def test_a_published_model_is_found_by_its_name(trained_run, tmp_path, monkeypatch):
    shutil.copytree(trained_run, tmp_path / "lanes")
    monkeypatch.setattr(published_models, "PUBLISHED", tmp_path)
    assert init_source.find("lanes").weights == tmp_path / "lanes" / run_folder.BEST
    with pytest.raises(InputError, match=r"road.*published: lanes"):
        init_source.find("road")


def test_a_changed_config_points_to_init(trained_run, config):
    with pytest.raises(InputError, match=f"--init {trained_run} --out NEW"):
        train.train(dataclasses.replace(config, epochs=9), trained_run)


def test_a_row_of_a_comparison_starts_from_a_run(trained_run, config, tmp_path):
    from kseg.compare import plan

    base = dataclasses.replace(config, decoder_channels=99, encoder_weights="imagenet")
    rows = plan.from_models([f"x={DEEPLAB}:init={trained_run}", DEEPLAB], base, tmp_path)
    assert [row.config.init for row in rows] == [str(trained_run), "none"]
    assert [row.config.decoder_channels for row in rows] == [16, 99]
    assert [row.config.encoder_weights for row in rows] == ["none", "imagenet"]
