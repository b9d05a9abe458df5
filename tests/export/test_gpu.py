"""Linter and GPU accelerator: what a delegate runs, predicted and measured."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from kseg import lint as lint_command
from kseg import models
from kseg.export import __main__ as export
from kseg.export import convert, linter, model_converter, tflite_graph
from kseg.export.labelled_frames import Frame
from kseg.export.profiles import PROFILES
from kseg.labels import BDD100K_DRIVABLE
from kseg.models.simplify import simplify
from kseg.runtime import gpu
from kseg.runtime.litert import TFLiteModel
from tests.conftest import assert_one_line, command, randomize
from tests.models.test_guard_classes import small_model

GPU = PROFILES["gpu"]


@pytest.fixture(scope="module")
def vulkan():
    """The Driver of a Vulkan device; tests that need one are skipped where there is none."""
    driver, why = gpu.find_driver()
    if driver is None:
        pytest.skip(why)
    return driver


@pytest.fixture(
    scope="module",
    params=[
        "unet",
        "segformer_b0",
        "pspnet_resnet50",
        "segformer_b0_edge",
        "deeplab_v3_plus_mobilenet_edge",
        pytest.param("deeplab_v3_plus_efficientnet_lite0", marks=pytest.mark.slow),
        pytest.param("unet_efficientnet_v2_b0", marks=pytest.mark.slow),
        pytest.param("deeplab_v3_plus_mobilenet_v3_large", marks=pytest.mark.slow),
        # All their layers are in a model above or in the shared run.
        pytest.param("deeplab_v3_plus_mobilenet_v2", marks=pytest.mark.slow),
        pytest.param("fcn_resnet50", marks=pytest.mark.slow),
        pytest.param("deeplab_v3_plus_resnet50", marks=pytest.mark.slow),
    ],
)
def family(request):
    """(model with random weights, an image on which it predicts every class, its GPU file)."""
    model = models.build(request.param, (64, 97), 3, decoder_channels=16, encoder_alpha=0.35)
    randomize(model, seed=0)
    image = np.random.default_rng(0).integers(0, 256, (64, 97, 3), dtype=np.uint8)
    balance(model, image)
    return model, image, convert.to_tflite(simplify(model), "fp32", GPU)


def balance(model, image):
    """Shifts the class biases so that every class is predicted somewhere."""
    classifier = model.get_layer("logits_conv")
    kernel, bias = classifier.get_weights()
    logits = model.predict_on_batch(image[None].astype(np.float32))
    # Shifted below zero: with all logits negative, padding with zeros would win.
    classifier.set_weights([kernel, bias - logits.mean((0, 1, 2)) - 9 * logits.std()])


def test_every_family_converts_and_agrees_with_keras(family):
    model, image, tflite = family
    for profile in ("cpu", "gpu"):
        assert linter.problems(tflite, PROFILES[profile]) == []
    # Each GELU is one exact operator. Decomposed it would be ERF, which is no builtin, or TANH.
    assert gelus(tflite) == ([False] * 8 if exact_gelus(model) else [])
    assert "TANH" not in linter.operators(tflite)
    logits = model.predict_on_batch(image[None].astype(np.float32))[0]
    assert len(np.unique(logits.argmax(-1))) == 3  # Otherwise agreement would mean little.
    low, high = np.sort(logits, axis=-1)[..., -2:].transpose(2, 0, 1)
    clear = high - low > 1e-3 * logits.std()  # Random weights leave ties along rows.
    agree = TFLiteModel(tflite)(image) == logits.argmax(-1)
    assert clear.mean() > 0.98 and agree[clear].mean() >= 0.999


def gelus(tflite):
    """Whether each GELU operator is the approximate one."""
    return [op.options.approximate for op in tflite_graph.read(tflite)[0] if op.name == "GELU"]


def exact_gelus(model):
    return any(layer.name.endswith("_gelu") for layer in model.layers)


def test_every_family_agrees_on_gpu_and_cpu(family, vulkan):
    _, image, tflite = family
    frame = Frame("noise", image, np.zeros(image.shape[:2], np.uint8))
    report = gpu.verify(tflite, [frame], BDD100K_DRIVABLE, vulkan)
    assert report["verified"], report["reason"]
    assert report["fully_accelerated"] and report["pixel_agreement"] >= 0.995


def test_the_gpu_predicts_no_class_where_a_logit_overflows(vulkan):
    model = small_model(3, bias=0)
    kernel, bias = model.get_layer("logits_conv").get_weights()
    model.get_layer("logits_conv").set_weights([kernel + np.float32([3e38, 0, 0]), bias])
    image = np.full((1, 6, 10, 3), 90, np.uint8)
    result = gpu.run(convert.to_tflite(model, "fp32", GPU), image, vulkan)
    assert (result.outputs[0] == 3).all()  # Not 0, the class that overflowed.


def test_argmax_over_three_channels_is_refused_by_the_gpu(
    trained_run, tmp_path, monkeypatch, vulkan
):
    def all_negative(model):
        """Training may end there, since no loss depends on it; then the zero padding wins."""
        classifier = model.get_layer("logits_conv")
        kernel, bias = classifier.get_weights()
        classifier.set_weights([kernel, bias - 100])
        return model

    monkeypatch.setattr(model_converter, "simplify", all_negative)
    unguarded = convert.Form("uint8", "class-map", guard_classes=False)
    monkeypatch.setattr(convert, "form", lambda profile, output=None: unguarded)
    out = tmp_path / "m.tflite"
    argv = [trained_run, "--tflite", "--profile", "gpu", "--gpu-frames", 2, "--out", out]
    assert command(export.main, argv) == 3
    report = json.loads((tmp_path / "m.rejected.tflite.report.json").read_text())
    assert report["pixel_agreement"] > 0.999  # The CPU does not have this bug.
    assert report["gpu"]["fully_accelerated"] and report["gpu"]["pixel_agreement"] < 0.995
    assert any(line.startswith("on the GPU") for line in report["problems"])
    assert any("ARG_MAX" in line and "3 channels" in line for line in report["problems"])


@pytest.fixture(scope="module")
def unfit_tflite(tmp_path_factory):
    """A file that delegates refuse: rank 5 from UpSampling2D and an int64 ARG_MAX."""
    image = keras.Input((16, 16, 4), name="image")
    x = layers.Conv2D(8, 3, padding="same", name="first_conv")(image)
    x = layers.Conv2D(3, 1, name="logits_conv")(layers.UpSampling2D(2, name="enlarge")(x))
    model = keras.Model(image, x, name="net")
    archive, folder = keras.export.ExportArchive(), tmp_path_factory.mktemp("unfit")
    archive.track(model)
    archive.add_endpoint(
        "serve",
        lambda image: {"class_map": tf.argmax(model(image, training=False), -1)},
        input_signature=[keras.InputSpec(shape=(1, 16, 16, 4), dtype="float32", name="image")],
    )
    archive.write_out(str(folder), verbose=False)
    return convert.from_saved_model(str(folder)).convert()


def test_lint_gives_operator_layer_and_remedy(unfit_tflite):
    report = linter.inspect(unfit_tflite, GPU)
    text = "\n".join(report["problems"])
    assert "TILE (enlarge)" in text and "rank 5" in text and "Resizing" in text
    assert "ARG_MAX" in text and "INT64" in text and "tf.int32" in text
    assert "logits_conv" not in text and "first_conv" not in text
    assert (report["delegated"], report["left_on_cpu"], report["largest"]) == (2, 6, 1)


@pytest.mark.parametrize(("constant", "accepted"), [(0.0, True), (-3e4, False)])
def test_padding_with_a_constant_is_refused_on_gpus(constant, accepted):
    """Some drivers pad with 0, whatever the constant is. The file computes right on a CPU."""
    image = tf.TensorSpec((1, 8, 8, 3), tf.float32, name="image")

    @tf.function(input_signature=[image])
    def pad(image):
        return tf.pad(image, [[0, 0], [0, 0], [0, 0], [0, 1]], constant_values=constant)

    tflite = tf.lite.TFLiteConverter.from_concrete_functions([pad.get_concrete_function()])
    tflite = tflite.convert()
    assert linter.problems(tflite, PROFILES["cpu"]) == []
    for profile in ("gpu", "gpu-classic", "gpu-gl"):
        problems = linter.problems(tflite, PROFILES[profile])
        assert (problems == []) == accepted
        assert accepted or ("-30000" in problems[0] and "guard_classes" in problems[0])


def test_lint_predicts_what_the_accelerator_refuses(unfit_tflite, vulkan):
    frame = Frame("x", np.zeros((16, 16, 4), np.uint8), np.zeros((32, 32), np.uint8))
    report = gpu.verify(unfit_tflite, [frame], BDD100K_DRIVABLE, vulkan)
    assert not report["verified"] and "every operator" in report["reason"]
    refused = {line.split(":")[0] for line in report["refused"]}
    predicted = {
        line.split(" (")[0].split(" x ")[-1] for line in linter.problems(unfit_tflite, GPU)
    }
    assert refused == predicted == {"ARG_MAX", "RESHAPE", "TILE"}


def test_the_lint_command_reports_by_its_exit_code(unfit_tflite, tflite_path, tmp_path, capsys):
    path = tmp_path / "unfit.tflite"
    path.write_bytes(unfit_tflite)
    assert command(lint_command.main, [path, "--profile", "gpu"]) == 3
    assert "2 operators on the GPU, 6 on the CPU, in 4 partitions" in capsys.readouterr().out
    assert command(lint_command.main, [tflite_path, "--profile", "cpu", "gpu"]) == 0
    assert "in 1 partition" in capsys.readouterr().out
    assert command(lint_command.main, [tflite_path, "--profile", "gpu-classic"]) == 3
    assert "ARG_MAX" in capsys.readouterr().out
    path.write_bytes(b"no model at all")
    assert command(lint_command.main, [path]) == 2
    assert_one_line(capsys, path, "not a .tflite file")


def operator(name, inputs, outputs):
    def tensors(indices):
        return [
            tflite_graph.Tensor(i, str(i), (1, 2, 2, 4), "FLOAT32", False, None) for i in indices
        ]

    return tflite_graph.Operator(name, 1, tensors(inputs), tensors(outputs), None)


def test_partitions_end_only_where_they_need_another():
    # 0 -conv-> 1 -conv-> 2 in parallel with 0 -odd-> 3; ADD takes both.
    ops = [
        operator("CONV_2D", [0], [1]),
        operator("ODD", [0], [3]),
        operator("CONV_2D", [1], [2]),
        operator("ADD", [2, 3], [4]),
    ]
    groups = linter.partitions(ops, lambda op: op.name != "ODD")
    assert [(on_gpu, [op.name for op in group]) for on_gpu, group in groups] == [
        (True, ["CONV_2D", "CONV_2D"]),
        (False, ["ODD"]),
        (True, ["ADD"]),
    ]
