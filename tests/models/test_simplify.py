"""kseg.models.simplify: same logits, less computation, and the model itself is not changed."""

import keras
import numpy as np
import pytest

from kseg import models
from kseg.models import cost
from kseg.models.simplify import simplify
from tests.conftest import randomize

SIZE = (97, 161)
SIMPLER = [
    "deeplab_v3_plus_mobilenet_v2",
    "deeplab_v3_plus_resnet50",
    "deeplab_v3_plus_mobilenet_edge",
    "segformer_b0",
    "segformer_b0_edge",
]


def build(name, size=SIZE):
    model = models.build(name, size, 3, encoder_alpha=0.35, decoder_channels=16)
    randomize(model, seed=7)
    return model


def image(size=SIZE):
    return np.random.default_rng(1).uniform(0, 255, (2, *size, 3)).astype(np.float32)


@pytest.mark.parametrize("name", SIMPLER)
def test_logits_are_the_same_and_cost_less(name):
    model = build(name)
    expected = model.predict_on_batch(image())
    simple = simplify(model)
    got = simple.predict_on_batch(image())
    assert np.abs(got - expected).max() < 1e-5 * np.abs(expected).max()
    assert cost.multiply_adds(simple) < cost.multiply_adds(model)
    assert np.array_equal(model.predict_on_batch(image()), expected)  # Not changed.


def test_segformer_b0_costs_half():
    model = models.build("segformer_b0", (288, 512), 3)
    assert cost.multiply_adds(simplify(model)) < 0.5 * cost.multiply_adds(model)


@pytest.mark.parametrize("name", ["deeplab_v3_plus_mobilenet_v2", "segformer_b0"])
def test_every_weight_still_counts(name):
    # A weight that was lost in the merge would no longer change the logits.
    model = build(name)
    head = "head" if name.startswith("segformer") else "aspp"
    before = simplify(model)(image()).numpy()
    for layer in model.layers:
        if not layer.name.startswith(head):
            continue
        for weight in layer.weights:
            original = weight.numpy()
            weight.assign(original * 1.5 + 0.25)
            changed = simplify(model)(image()).numpy()
            expected = model(image()).numpy()
            assert np.abs(changed - expected).max() < 1e-5 * np.abs(expected).max(), weight.path
            assert np.abs(changed - before).max() > 1e-5 * np.abs(before).max(), weight.path
            weight.assign(original)


@pytest.mark.parametrize("name", ["unet", "fcn_resnet50", "pspnet_resnet50"])
def test_a_model_with_nothing_to_merge_is_returned_as_it_is(name):
    model = build(name, (64, 96))
    assert simplify(model) is model


@pytest.mark.parametrize(
    ("name", "missing"),
    [("bisenet", "bisenet"), ("segformer", "head"), ("deeplab_v3_plus", "aspp")],
)
def test_an_unknown_family_and_renamed_layers_fail_loudly(name, missing):
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, keras.layers.Conv2D(3, 1, name="renamed")(image), name=name)
    with pytest.raises(ValueError, match=missing):
        simplify(model)
