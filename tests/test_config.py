import argparse
import dataclasses
import json

import pytest

from kseg import config as configs
from kseg import model_names, presets
from kseg.config import Config
from kseg.errors import InputError
from kseg.labels import BDD100K_DRIVABLE
from kseg.manifest import Manifest, Split


def resolve(*flags):
    parser = argparse.ArgumentParser()
    presets.add_flags(parser)
    return presets.resolve(parser.parse_args([str(f) for f in flags]))


def test_json_round_trip(tmp_path):
    config = dataclasses.replace(Config(), size=(97, 161), learning_rate=0.01)
    (tmp_path / "c.json").write_text(config.to_json())
    assert configs.read(tmp_path / "c.json") == config


def test_flags_win_over_file_which_wins_over_preset(tmp_path):
    path = tmp_path / "c.json"
    path.write_text(json.dumps({"epochs": 3, "batch_size": 2, "learning_rate": 1}))
    config = resolve("--preset", "course", "--config", path, "--batch-size", 5, "--no-flip")
    assert (config.model, config.epochs, config.batch_size) == ("segformer_b3", 3, 5)
    assert config.learning_rate == 1.0 and not config.flip


def stored(folder, size):
    """A data set whose frames have this size; None: of different sizes."""
    folder.mkdir()
    splits = {"train": Split(8, (1, 1, 1), 0, ())}
    manifest = Manifest("test", BDD100K_DRIVABLE, size, splits, {})
    (folder / "manifest.json").write_text(manifest.to_json())
    return folder


def test_without_a_preset_the_size_is_that_of_the_frames(tmp_path):
    data = stored(tmp_path / "data", (180, 320))
    assert resolve("--data", data).size == (180, 320)
    assert resolve("--data", data, "--size", 97, 161).size == (97, 161)
    assert resolve("--data", data, "--preset", "demo").size == presets.demo().size
    assert resolve("--data", stored(tmp_path / "mixed", None)).size == presets.demo().size
    assert resolve("--data", tmp_path / "nowhere").size == presets.demo().size
    (tmp_path / "c.json").write_text('{"size": [64, 96]}')
    assert resolve("--data", data, "--config", tmp_path / "c.json").size == (64, 96)


def test_without_a_preset_the_size_of_a_fine_tuning_is_that_of_its_source(tmp_path):
    init = ["--data", stored(tmp_path / "data", (288, 512)), "--init", "lanes-base"]
    assert resolve(*init).size == (180, 320)
    assert resolve(*init, "--size", 97, 161).size == (97, 161)
    assert resolve(*init, "--preset", "camvid").size == presets.camvid().size


def test_further_data_sets_are_recorded_as_they_were_typed(tmp_path):
    config = resolve("--also", "data/idd", 4, "drivable=direct|alternative", "--also", "b", "x y=a")
    assert config.also == ("data/idd 4 'drivable=direct|alternative'", "b 'x y=a'")
    (tmp_path / "c.json").write_text(config.to_json())
    assert configs.read(tmp_path / "c.json") == config
    assert resolve("--config", tmp_path / "c.json", "--also", "c").also == ("c",)


def test_unknown_key_names_the_nearest(tmp_path):
    path = tmp_path / "c.json"
    path.write_text('{"batchsize": 4}')
    with pytest.raises(InputError, match=r"c\.json: .*'batchsize'.*'batch_size'"):
        resolve("--config", path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("size", [16, 256]),
        ("size", [144]),
        ("size", "144x256"),
        ("epochs", 0),
        ("epochs", 1.5),
        ("decoder_channels", -1),
        ("model", "segformer_b6"),
        ("flip", 1),
        ("batch_size", True),
        ("loss", "dice+ce"),
        ("scale_min", 2.0),
        ("learning_rate", 0),
        ("learning_rate", float("nan")),
        ("class_weights", "1 x"),
        ("also", "data/idd"),
        ("also", [3]),
        ("also", ["data/idd 8"]),
        ("also", ["data/idd 0"]),
        ("class_weights", "0 0"),
        ("class_weights", ""),
        ("weight_decay", 0.1),  # With Adam.
        ("warmup_steps", 5),  # With one-cycle.
        ("ema_momentum", 1.0),
        ("mixed_precision", "fp16"),
        ("gradient_accumulation_steps", 0),
        ("patience", -1),
        ("freeze_encoder", True),  # Of random weights.
    ],
)
def test_a_bad_value_is_refused_with_its_key(key, value):
    with pytest.raises(InputError, match=key):
        configs.merge(Config(), {key: value})


def test_an_unknown_model_names_the_nearest_and_help_stays_short(capsys):
    with pytest.raises(InputError, match=r"'deeplab_resnet50'.*deeplab_v3"):
        resolve("--model", "deeplab_resnet50")
    with pytest.raises(SystemExit):
        resolve("--help")
    words = capsys.readouterr().out.split()
    assert all(name in " ".join(words) for name in (*model_names.FAMILIES, *model_names.ENCODERS))
    assert "fcn_resnet101" not in words and "{unet" not in " ".join(words)


def test_a_config_of_an_older_version_is_read_with_defaults(tmp_path):
    old = {"data": "d", "size": [64, 97], "loss": "dice", "batch_size": 4, "seed": 1}
    (tmp_path / "c.json").write_text(json.dumps(old))
    expected = Config(data="d", size=(64, 97), loss="dice", batch_size=4, seed=1)
    assert configs.read(tmp_path / "c.json") == expected


def test_class_weights_on_the_command_line_become_one_text():
    assert resolve("--class-weights", 1, 2.5, 0.5).class_weights == "1 2.5 0.5"
    assert resolve("--class-weights", "auto").class_weights == "auto"


def test_loss_terms():
    assert configs.loss_terms("dice") == [(1.0, "dice")]
    terms = [(1.0, "dice"), (0.5, "focal"), (2.0, "lovasz")]
    assert configs.loss_terms(" dice +0.5* focal + 2*lovasz") == terms


def test_every_preset_is_valid_and_unique():
    configs_as_json = {preset().to_json() for preset in presets.PRESETS.values()}
    assert len(configs_as_json) == len(presets.PRESETS)


def test_the_course_preset_has_the_protocol_of_the_course():
    course = presets.course()
    assert (course.size, course.batch_size, course.epochs) == ((180, 320), 8, 12)
    assert (course.learning_rate, course.loss) == (3e-4, "log_dice")
    assert course.model == "segformer_b3"


@pytest.mark.parametrize("model", model_names.MODELS)
def test_the_course_preset_accepts_any_model_with_its_published_width(model):
    config = resolve("--preset", "course", "--model", model)
    assert config == dataclasses.replace(presets.course(), model=model)
    assert config.decoder_channels == 0
