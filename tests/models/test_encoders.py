"""Convolutional encoders equal those of keras.applications, also on a finer grid."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import pytest

from kseg import models
from kseg.errors import InputError
from kseg.models import cost
from kseg.models.encoders import (
    efficientnet_lite,
    efficientnet_v2,
    mobilenet_v2,
    mobilenet_v3,
    resnet,
)
from kseg.models.encoders.dilation import dilate
from kseg.models.pretrained import weight_files
from tests.conftest import randomize


class Encoder(NamedTuple):
    """How to build and load one of our encoders, and the keras.applications model that it equals.

    last: the layer of the keras.applications model whose output is our coarsest feature, "" for the
    output of the model; parameters: of our encoder; prepare: the image preprocessing of the
    keras.applications model.
    """

    build: Callable
    load: Callable
    application: Callable
    last: str
    parameters: int
    prepare: Callable = lambda image: image


def efficientnet_lite_of_keras(width, repeats, **arguments):
    """EfficientNet-Lite made with keras.applications' code, which publishes EfficientNet only.

    The stem is not widened, as in Lite, for widths up to 1.1.
    """
    from keras.src.applications import efficientnet

    stages = [
        {**stage, "se_ratio": 0, "repeats": count}
        for stage, count in zip(efficientnet.DEFAULT_BLOCKS_ARGS, repeats, strict=True)
    ]
    return efficientnet.EfficientNet(
        width, 1.0, 224, activation="relu6", blocks_args=stages, **arguments
    )


def lite(variant, width, repeats, parameters):
    return Encoder(
        functools.partial(efficientnet_lite.build, variant=variant),
        efficientnet_lite.load_weights,
        functools.partial(efficientnet_lite_of_keras, width, repeats),
        "block7a_project_bn",
        parameters,
        lambda image: (image - 127) / 128 * 255,  # keras.applications divides by 255.
    )


def efficientnet(variant, last, parameters):
    return Encoder(
        functools.partial(efficientnet_v2.build, variant=variant),
        efficientnet_v2.load_weights,
        getattr(keras.applications, f"EfficientNetV2{variant.upper()}"),
        last,
        parameters,
    )


def mobilenet(variant, alpha, parameters):
    return Encoder(
        functools.partial(mobilenet_v3.build, variant=variant, alpha=alpha),
        functools.partial(mobilenet_v3.load_weights, alpha=alpha),
        functools.partial(
            getattr(keras.applications, f"MobileNetV3{variant.title()}"), alpha=alpha
        ),
        "",
        parameters,
    )


def bgr_minus_mean(image):
    return keras.applications.resnet.preprocess_input(image.copy())


# Counts of keras.applications without top, minus the convolution and norm that ours leave out.
ENCODERS = {
    "mobilenet_v2": Encoder(
        functools.partial(mobilenet_v2.build, alpha=0.35),
        functools.partial(mobilenet_v2.load_weights, alpha=0.35),
        functools.partial(keras.applications.MobileNetV2, alpha=0.35),
        "block_16_project_BN",
        410_208 - 112 * 1280 - 4 * 1280,
        lambda image: image / 127.5 - 1,
    ),
    "mobilenet_v3_large": mobilenet("large", 1.0, 2_996_352),
    "mobilenet_v3_large_075": mobilenet("large", 0.75, 1_808_736),
    "mobilenet_v3_small": mobilenet("small", 1.0, 939_120),
    "efficientnet_lite0": lite("lite0", 1.0, (1, 2, 2, 3, 3, 4, 1), 716_928),
    "efficientnet_lite2": lite("lite2", 1.1, (1, 3, 3, 4, 4, 5, 1), 1_186_496),
    "efficientnet_v2_b0": efficientnet("b0", "block6h_add", 5_919_312 - 192 * 1280 - 4 * 1280),
    "efficientnet_v2_b1": efficientnet("b1", "block6i_add", 6_931_124 - 192 * 1280 - 4 * 1280),
    "efficientnet_v2_b2": efficientnet("b2", "block6j_add", 8_769_374 - 208 * 1408 - 4 * 1408),
    "efficientnet_v2_b3": efficientnet("b3", "block6l_add", 12_930_622 - 232 * 1536 - 4 * 1536),
    "resnet50": Encoder(
        functools.partial(resnet.build, variant="resnet50"),
        resnet.load_weights,
        keras.applications.ResNet50,
        "conv5_block3_out",
        23_587_712,
        bgr_minus_mean,
    ),
    "resnet101": Encoder(
        functools.partial(resnet.build, variant="resnet101"),
        resnet.load_weights,
        keras.applications.ResNet101,
        "conv5_block3_out",
        42_658_176,
        bgr_minus_mean,
    ),
}
DISTINCT = [
    *("mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small"),
    *("efficientnet_lite0", "efficientnet_v2_b0"),
]
EVEN, ODD = (64, 96), (65, 97)


class Pair(NamedTuple):
    """Our encoder with the weights of a keras.applications model, and the outputs of that model."""

    encoder: keras.Model
    image: np.ndarray
    expected: list[np.ndarray]

    def difference(self):
        """The largest difference in any layer or the coarsest feature, relative to its maximum."""
        last = self.encoder.output[32]
        got = outputs(self.encoder, layers_with_weights(self.encoder), last, self.image)
        assert [g.shape for g in got] == [e.shape for e in self.expected]
        pairs = zip(got, self.expected, strict=True)
        return max(np.abs(g - e).max() / np.abs(e).max() for g, e in pairs)


def layers_with_weights(encoder):
    """For comparison layer by layer: with random weights, little of the first reaches the last."""
    return [layer.name for layer in encoder.layers if layer.weights]


def outputs(model, layers, last, image):
    compared = [*(model.get_layer(name).output for name in layers), last]
    return [output.numpy() for output in keras.Model(model.input, compared)(image)]


@pytest.fixture(
    scope="module",
    params=[
        *[(name, EVEN) for name in [*DISTINCT, "resnet50"]],
        *[(name, ODD) for name in [*DISTINCT, "resnet50"]],
        # Each of the others is a scaled version of one of these.
        *[
            pytest.param((name, ODD), marks=pytest.mark.slow)
            for name in ENCODERS
            if name not in (*DISTINCT, "resnet50")
        ],
    ],
    ids=lambda param: f"{param[0]}-{param[1][0]}x{param[1][1]}",
)
def pair(request, tmp_path_factory):
    name, size = request.param
    ours = ENCODERS[name]
    reference = ours.application(input_shape=(*size, 3), include_top=False, weights=None)
    randomize(reference, seed=0)
    path = tmp_path_factory.mktemp("weights") / "w.weights.h5"
    reference.save_weights(path)
    encoder = ours.build(size, output_stride=32)
    ours.load(encoder, str(path))
    path.unlink()
    image = np.random.default_rng(1).uniform(0, 255, (1, *size, 3)).astype(np.float32)
    last = reference.get_layer(ours.last).output if ours.last else reference.output
    expected = outputs(reference, layers_with_weights(encoder), last, ours.prepare(image))
    return Pair(encoder, image, expected)


def test_features_equal_those_of_keras_applications(pair):
    assert all(expected.std() > 0 for expected in pair.expected)
    assert pair.difference() < 1e-4


def test_one_wrong_weight_changes_the_features(pair):
    weights = [weight for layer in pair.encoder.layers for weight in layer.weights]
    for weight in weights[:: max(1, len(weights) // 8)]:
        original = weight.numpy()
        weight.assign(original * 1.1 + 0.02)
        assert pair.difference() > 1e-4, weight.path
        weight.assign(original)
    assert pair.difference() < 1e-4


@pytest.mark.parametrize("name", ENCODERS)
def test_parameter_counts_and_grids(name):
    encoder = ENCODERS[name].build((97, 161), output_stride=16)
    assert encoder.count_params() == ENCODERS[name].parameters
    grids = {stride: tuple(x.shape[1:3]) for stride, x in encoder.output.items()}
    assert grids == {2: (49, 81), 4: (25, 41), 8: (13, 21), 16: (7, 11)}


def test_strides_beyond_the_output_stride_become_dilations():
    published = [1, 2, 2, 1, 2, 1, 2]
    assert dilate(published, 32) == [
        (1, 1, 2), (2, 1, 4), (2, 1, 8), (1, 1, 8), (2, 1, 16), (1, 1, 16), (2, 1, 32)
    ]  # fmt: skip
    assert dilate(published, 8) == [
        (1, 1, 2), (2, 1, 4), (2, 1, 8), (1, 1, 8), (1, 1, 8), (1, 2, 8), (1, 2, 8)
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name in ("efficientnet_v2_b0", "resnet50")))
        for name in [*DISTINCT, "resnet50"]
        if name != "efficientnet_lite0"  # Has fewer stages on a finer grid: see below.
    ],
)
def test_a_dilated_encoder_has_the_same_features_on_a_finer_grid(name):
    # At 32 n + 1, every map down to stride 32 is odd. Padding is then symmetric and strides take
    # even pixels, so that the grids agree at each shared pixel, borders too. ResNet's always do.
    size = (97, 160) if name == "resnet50" else (97, 161)
    coarse = ENCODERS[name].build(size, output_stride=32)
    randomize(coarse, seed=0)
    make_gates_constant(coarse)
    image = np.random.default_rng(2).uniform(0, 255, (1, *size, 3)).astype(np.float32)
    at_coarse = coarse(image)[32].numpy()
    assert at_coarse.shape[1:3] == (4, -(-size[1] // 32))
    for output_stride, step in ((16, 2), (8, 4)):
        fine = ENCODERS[name].build(size, output_stride=output_stride)
        fine.set_weights(coarse.get_weights())
        features = fine(image)
        assert sorted(features) == [s for s in (2, 4, 8, 16) if s <= output_stride]
        shared = features[output_stride].numpy()[:, ::step, ::step]
        assert np.abs(shared - at_coarse).max() < 1e-4 * np.abs(at_coarse).max()


def test_a_finer_efficientnet_lite_has_the_same_stages():
    size = (97, 161)
    complete = efficientnet_lite.build(size, output_stride=32)
    randomize(complete, seed=0)
    coarse = efficientnet_lite.build(size, output_stride=16)
    fine = efficientnet_lite.build(size, output_stride=8)
    for encoder in (coarse, fine):
        weight_files.copy_by_layer(complete, encoder)
    image = np.random.default_rng(2).uniform(0, 255, (1, *size, 3)).astype(np.float32)
    (expected,) = outputs(complete, [], complete.get_layer("block5c_add").output, image)
    at_coarse, at_fine = coarse(image)[16].numpy(), fine(image)[8].numpy()
    assert np.abs(at_coarse - expected).max() < 1e-4 * np.abs(expected).max()
    assert np.abs(at_fine[:, ::2, ::2] - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("variant", "published"),
    # README of tensorflow/tpu's efficientnet/lite, millions.
    [("lite0", 4.7), ("lite1", 5.4), ("lite2", 6.1), ("lite3", 8.2), ("lite4", 13.0)],
)
def test_parameters_are_those_of_the_published_efficientnet_lite(variant, published):
    encoder = efficientnet_lite.build((64, 64), variant, output_stride=32)
    trained = sum(np.prod(weight.shape) for weight in encoder.trainable_weights)
    head = (encoder.output[32].shape[-1] + 2) * 1280 + (1280 + 1) * 1000
    assert (trained + head) / 1e6 == pytest.approx(published, abs=0.05)


def make_gates_constant(encoder):
    """Makes squeeze-excite gates independent of the image: a finer grid has other means."""
    for layer in encoder.layers:
        if "squeeze_excite" in layer.name or "_se_" in layer.name:
            for weight in layer.weights:
                if len(weight.shape) == 4:
                    weight.assign(np.zeros(weight.shape))


@pytest.mark.parametrize(
    ("encoder", "layer"),
    [
        ("resnet50", "conv4_block6_out"),
        ("resnet101", "conv4_block23_out"),
        ("mobilenet_v2", "block_16_project"),
        ("mobilenet_v3_large", "expanded_conv_14_add"),
        ("mobilenet_v3_small", "expanded_conv_10_add"),
        *((f"efficientnet_lite{number}", "block5c_project_bn") for number in range(5)),
        ("efficientnet_v2_b0", "block6h_add"),
        ("efficientnet_v2_b1", "block6i_add"),
        ("efficientnet_v2_b2", "block6j_add"),
        ("efficientnet_v2_b3", "block6l_add"),
    ],
)
def test_every_name_builds_its_encoder(encoder, layer):
    model = models.build(f"fcn_{encoder}", (33, 65), 3, encoder_alpha=0.75, decoder_channels=8)
    assert model.get_layer(layer)


@pytest.mark.parametrize(
    ("encoder", "application", "expected"),
    [
        ("mobilenet_v3_small", "MobileNetV3Large", "MobileNetV3Small.*alpha 1"),
        ("efficientnet_v2_b0", "MobileNetV3Small", "EfficientNetV2B0"),
        ("efficientnet_lite0", "MobileNetV3Small", "EfficientNet-lite0"),
    ],
)
def test_weights_of_another_encoder_are_refused(tmp_path, encoder, application, expected):
    other = getattr(keras.applications, application)(
        input_shape=(32, 32, 3), include_top=False, weights=None
    )
    path = str(tmp_path / "other.weights.h5")
    other.save_weights(path)
    with pytest.raises(InputError, match=f"other.weights.h5: .*{expected}"):
        models.build(f"fcn_{encoder}", (64, 96), 3, encoder_weights=path)


def test_an_alpha_without_imagenet_weights_is_refused():
    with pytest.raises(InputError, match=r"encoder_alpha 0.5: .* MobileNetV3 for 0.75 and 1"):
        models.build(
            "fcn_mobilenet_v3_large", (64, 96), 3, encoder_alpha=0.5, encoder_weights="imagenet"
        )


@pytest.mark.parametrize(
    ("build", "size", "head", "published"),
    [
        # Table 5 of the paper. The head is what follows the last convolution.
        (ENCODERS["mobilenet_v3_large"].build, 224, 960 * 1280 + 1280 * 1000, 219e6),
        (ENCODERS["mobilenet_v3_small"].build, 224, 576 * 1024 + 1024 * 1000, 56e6),
        # README of google/automl/efficientnetv2. The head is the last convolution and classifier.
        (ENCODERS["efficientnet_v2_b0"].build, 224, 7 * 7 * 192 * 1280 + 1280 * 1000, 0.72e9),
        (ENCODERS["efficientnet_v2_b1"].build, 240, 8 * 8 * 192 * 1280 + 1280 * 1000, 1.2e9),
        (ENCODERS["efficientnet_v2_b2"].build, 260, 9 * 9 * 208 * 1408 + 1408 * 1000, 1.7e9),
        (ENCODERS["efficientnet_v2_b3"].build, 300, 10 * 10 * 232 * 1536 + 1536 * 1000, 3.0e9),
    ],
)
def test_multiply_adds_are_those_of_the_papers(build, size, head, published):
    encoder = build((size, size), output_stride=32)
    assert cost.multiply_adds(encoder) + head == pytest.approx(published, rel=0.015)
