"""Importing published EfficientNet-Lite weights: both sources' names, and what is refused."""

import numpy as np
import pytest

from kseg import import_weights, models
from kseg.errors import InputError
from kseg.models.encoders import efficientnet_lite
from tests.conftest import assert_one_line, command, randomize

MODEL = "deeplab_v3_plus_efficientnet_lite0"


@pytest.fixture(scope="module")
def encoder():
    """The complete network with random weights."""
    encoder = efficientnet_lite.build((64, 64), output_stride=32)
    randomize(encoder, seed=0)
    return encoder


def conv(layer, depthwise=False):
    """PyTorch's axes: (out, in, h, w), or (channels, 1, h, w)."""
    return layer.get_weights()[0].transpose((2, 3, 0, 1) if depthwise else (3, 2, 0, 1))


def norm(layer, name):
    kinds = ("weight", "bias", "running_mean", "running_var")
    return {
        **{f"{name}.{kind}": value for kind, value in zip(kinds, layer.get_weights(), strict=True)},
        f"{name}.num_batches_tracked": np.array(3),
    }


def block_tensors(encoder, name, prefix, modules):
    """modules: those of the six layers below, None for an absent one."""
    tensors = {}
    ours = ("expand_conv", "expand_bn", "dwconv", "bn", "project_conv", "project_bn")
    for layer, module in zip(ours, modules, strict=True):
        if module is None:
            continue
        found = encoder.get_layer(f"{name}_{layer}")
        if layer.endswith("bn"):
            tensors |= norm(found, f"{prefix}.{module}")
        else:
            tensors[f"{prefix}.{module}.weight"] = conv(found, depthwise=layer == "dwconv")
    return tensors


# Written out from the two sources: the blocks of each stage of Lite0.
REPEATS = (1, 2, 2, 3, 3, 4, 1)


def timm(encoder):
    tensors = {"conv_stem.weight": conv(encoder.get_layer("stem_conv"))}
    tensors |= norm(encoder.get_layer("stem_bn"), "bn1")
    for stage, repeats in enumerate(REPEATS):
        for repeat in range(repeats):
            modules = ("conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3")
            if stage == 0:
                modules = (None, None, "conv_dw", "bn1", "conv_pw", "bn2")
            name = f"block{stage + 1}{'abcd'[repeat]}"
            tensors |= block_tensors(encoder, name, f"blocks.{stage}.{repeat}", modules)
    tensors |= {"conv_head.weight": np.zeros((1280, 320, 1, 1)), "bn2.weight": np.zeros(1280)}
    return tensors | {
        "classifier.weight": np.zeros((1000, 1280)),
        "classifier.bias": np.zeros(1000),
    }


def pypi(encoder):
    tensors = {"_conv_stem.weight": conv(encoder.get_layer("stem_conv"))}
    tensors |= norm(encoder.get_layer("stem_bn"), "_bn0")
    names = [
        f"block{stage}{letter}"
        for stage, repeats in enumerate(REPEATS, start=1)
        for letter in "abcd"[:repeats]
    ]
    for number, name in enumerate(names):
        modules = ("_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_project_conv", "_bn2")
        if number == 0:
            modules = (None, None, *modules[2:])
        tensors |= block_tensors(encoder, name, f"_blocks.{number}", modules)
    tensors |= {"_conv_head.weight": np.zeros((1280, 320, 1, 1)), "_bn1.weight": np.zeros(1280)}
    return tensors | {"_fc.weight": np.zeros((1000, 1280)), "_fc.bias": np.zeros(1000)}


def write(path, tensors):
    numpy = pytest.importorskip("safetensors.numpy", reason="the extra `test` is not installed")
    arrays = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    numpy.save_file(arrays, path)
    return path


@pytest.mark.parametrize("source", [timm, pypi])
def test_imported_weights_are_those_of_the_source(encoder, tmp_path, monkeypatch, source, capsys):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "model.safetensors", source(encoder))
    given = tmp_path if source is timm else path  # A folder, or a file.
    assert command(import_weights.main, ["efficientnet-lite", given]) == 0
    assert f"--model {MODEL}" in capsys.readouterr().out
    file = "efficientnet_lite0.weights.h5"
    for output_stride, missing in ((32, []), (16, ["block6a_dwconv", "block7a_project_bn"])):
        model = models.build(MODEL, (64, 96), 3, output_stride=output_stride, encoder_weights=file)
        names = {layer.name for layer in model.layers}
        assert not names & set(missing)
        compared = [layer for layer in encoder.layers if layer.weights and layer.name in names]
        assert len(compared) == (96 if output_stride == 32 else 66)
        for layer in compared:
            ours = model.get_layer(layer.name).get_weights()
            for got, expected in zip(ours, layer.get_weights(), strict=True):
                np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    ("corrupt", "words"),
    [
        (lambda t: t.pop("conv_stem.weight"), ["conv_stem.weight", "EfficientNet-Lite"]),
        (lambda t: t.pop("blocks.3.1.bn2.bias"), ["block4b_bn/beta", "1 missing"]),
        (
            lambda t: t.update({"blocks.0.0.se.conv_reduce.weight": np.zeros((8, 32, 1, 1))}),
            ["blocks.0.0.se.conv_reduce.weight"],
        ),
        (lambda t: t.pop("blocks.6.0.conv_dw.weight"), ["15 blocks", "320 channels"]),
        (
            lambda t: t.update({"conv_head.weight": np.zeros((1280, 328, 1, 1))}),
            ["16 blocks", "328 channels"],
        ),
        (
            lambda t: t.update({"blocks.2.0.conv_dw.weight": np.zeros((144, 1, 3, 3))}),
            ["block3a_dwconv/kernel is (3, 3, 144, 1)", "(5, 5, 144, 1)"],
        ),
    ],
)
def test_other_networks_are_refused(encoder, tmp_path, monkeypatch, capsys, corrupt, words):
    monkeypatch.chdir(tmp_path)
    tensors = timm(encoder)
    corrupt(tensors)
    path = write(tmp_path / "model.safetensors", tensors)
    assert command(import_weights.main, ["efficientnet-lite", path]) == 2
    assert_one_line(capsys, path, *words)
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_imported_or_loaded_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert command(import_weights.main, ["efficientnet-lite", tmp_path, "--run", "run"]) == 2
    assert_one_line(capsys, "--run")
    assert command(import_weights.main, ["efficientnet-lite", tmp_path]) == 2
    assert_one_line(capsys, tmp_path, "model.safetensors")
    assert command(import_weights.main, ["efficientnet-lite", "gone.pth"]) == 2
    assert_one_line(capsys, "gone.pth: no such file")
    for source, words in (("imagenet", "tf_efficientnet_lite0.in1k"), ("a.h5", "import_weights")):
        with pytest.raises(InputError, match=words):
            models.build(MODEL, (64, 96), 3, encoder_weights=source)
