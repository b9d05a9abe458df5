"""kseg.models.simplify: the same logits, less work, the model left as it was."""

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
    assert np.array_equal(model.predict_on_batch(image()), expected)  # Left as it was.


def test_segformer_b0_costs_half():
    model = models.build("segformer_b0", (288, 512), 3)
    assert cost.multiply_adds(simplify(model)) < 0.5 * cost.multiply_adds(model)


@pytest.mark.parametrize("name", ["deeplab_v3_plus_mobilenet_v2", "segformer_b0"])
def test_every_weight_still_counts(name):
    # A weight that was lost on the way would no longer change the answer.
    model = build(name)
    head = "head" if name.startswith("segformer") else "aspp"
    before = simplify(model)(image()).numpy()
    for layer in model.layers:
        if not layer.name.startswith(head):
            continue
        for weight in layer.weights:
            kept = weight.numpy()
            weight.assign(kept * 1.5 + 0.25)
            changed = simplify(model)(image()).numpy()
            expected = model(image()).numpy()
            assert np.abs(changed - expected).max() < 1e-5 * np.abs(expected).max(), weight.path
            assert np.abs(changed - before).max() > 1e-5 * np.abs(before).max(), weight.path
            weight.assign(kept)


@pytest.mark.parametrize("name", ["unet", "fcn_resnet50", "pspnet_resnet50"])
def test_where_nothing_can_be_multiplied_the_model_comes_back(name):
    model = build(name, (64, 96))
    assert simplify(model) is model
