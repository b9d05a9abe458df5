"""--mixed-precision auto: what it chooses for a device, and that a run keeps the choice."""

import dataclasses

import pytest

from kseg import config as configs
from kseg.config import Config
from kseg.runtime.backend_devices import Device
from kseg.training import mixed_precision

AUTO = Config(mixed_precision="auto")


def gpu(*capability):
    return Device("gpu", "GPU", capability or None)


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        ([], "off"),
        ([gpu(9, 0)], "bfloat16"),
        ([gpu(8, 0)], "bfloat16"),
        ([gpu(12, 0)], "bfloat16"),
        ([gpu(7, 5)], "float16"),
        ([gpu(7, 0)], "float16"),
        ([gpu(6, 1)], "off"),
        ([gpu()], "off"),
        ([Device("tpu", "TPU v4", None)], "bfloat16"),
        ([gpu(9, 0), gpu(7, 5)], "float16"),
        ([gpu(7, 5), gpu(6, 1)], "off"),
    ],
)
def test_the_type_is_what_all_devices_compute_fast(devices, expected):
    assert mixed_precision.choose(devices) == expected


def test_a_new_run_gets_what_the_device_computes_fast(tmp_path, capsys):
    resolved = mixed_precision.resolve(AUTO, [gpu(8, 6)], tmp_path / "run")
    assert resolved == dataclasses.replace(AUTO, mixed_precision="bfloat16")
    assert "bfloat16" in capsys.readouterr().out


def test_a_setting_that_is_given_is_left_alone(tmp_path, capsys):
    config = Config(mixed_precision="float16")
    assert mixed_precision.resolve(config, [gpu(8, 6)], tmp_path) == config
    assert capsys.readouterr().out == ""


def test_a_run_that_resumes_on_another_device_keeps_its_choice(tmp_path, capsys):
    recorded = dataclasses.replace(AUTO, mixed_precision="bfloat16")
    (tmp_path / "config.json").write_text(recorded.to_json())
    assert mixed_precision.resolve(AUTO, [], tmp_path) == recorded
    out = capsys.readouterr().out
    assert "bfloat16" in out and "off here" in out
    assert configs.difference(recorded, AUTO) == ""
    assert "float16 now" in configs.difference(
        recorded, dataclasses.replace(AUTO, mixed_precision="float16")
    )
