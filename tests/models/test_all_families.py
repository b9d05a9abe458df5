"""Every family at an odd, wide size: it trains, a plain call is inference, and JAX agrees."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from kseg import models
from kseg.export import convert
from kseg.labels import BDD100K_DRIVABLE
from kseg.models.simplify import simplify
from kseg.runtime.litert import TFLiteModel
from kseg.training import losses
from kseg.training.metrics import SegmentationMetrics
from tests.conftest import JAX, ROOT, randomize
from tests.models.test_models import DEEPLAB, FAMILIES, SEGFORMER

SIZE = (97, 161)
THIN = {"encoder_alpha": 0.35, "decoder_channels": 8}


def images(count=2):
    rng = np.random.default_rng(0)
    return rng.uniform(0, 255, (count, *SIZE, 3)).astype(np.float32)


@pytest.fixture(scope="module", params=FAMILIES)
def model(request):
    """A narrow model of each family with random weights; only the last test may change them."""
    # Stochastic depth may drop a block for both images; then its weights would not move.
    keras.utils.set_random_seed(5)
    model = models.build(request.param, SIZE, 3, encoder_alpha=0.35, decoder_channels=16)
    randomize(model, seed=3)
    return model


def test_logits_have_the_size_of_the_image_and_every_tensor_has_rank_4_at_most(model):
    assert model.input_shape == (None, *SIZE, 3)
    assert model.output_shape == (None, *SIZE, 3)
    assert all(len(layer.output.shape) <= 4 for layer in model.layers if layer.name != "image")


def test_logits_are_finite_and_depend_on_the_image(model):
    half_white = np.zeros((2, *SIZE, 3), np.float32)
    half_white[1, :, 80:] = 255.0
    logits = model.predict_on_batch(half_white)
    assert np.isfinite(logits).all()
    assert np.abs(logits[0] - logits[1]).max() > 0.01 * np.abs(logits).max()


def test_a_plain_call_is_inference(model):
    # Some of Keras' layers, such as Resizing, pass training=True on to those after them.
    before = model.get_weights()
    plain, inferred = model(images(1)).numpy(), model(images(1), training=False).numpy()
    assert np.array_equal(plain, inferred) and plain.std() > 0
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_a_training_step_moves_the_weights(model):
    # Eagerly: tracing a graph for one step takes longer than the step.
    model.compile(keras.optimizers.Adam(1e-3), losses.build("log_dice"), run_eagerly=True)
    before = [w.numpy().copy() for w in model.trainable_weights]
    loss = model.train_on_batch(images(), np.random.default_rng(1).integers(0, 3, (2, *SIZE)))
    assert np.isfinite(loss)
    unchanged = [
        w.path
        for w, old in zip(model.trainable_weights, before, strict=True)
        if np.array_equal(old, w.numpy())
    ]
    # A key's bias adds the same to every score of a query, which softmax ignores.
    assert [path for path in unchanged if not path.endswith("attention_key/bias")] == []


@pytest.mark.slow
@pytest.mark.parametrize("size", [SIZE, (180, 320), (288, 512), (360, 640)])
@pytest.mark.parametrize(
    "name", ["unet", "fcn_mobilenet_v2", "pspnet_mobilenet_v2", DEEPLAB, SEGFORMER]
)
def test_at_usual_and_odd_sizes_a_model_trains_evaluates_and_converts(name, size):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (1, *size, 3), dtype=np.uint8)
    mask = rng.integers(0, 3, (1, *size))
    model = models.build(name, size, 3, **THIN)
    model.compile(
        keras.optimizers.Adam(1e-3),
        losses.build("log_dice"),
        metrics=[SegmentationMetrics(BDD100K_DRIVABLE)],
        run_eagerly=True,
    )
    assert np.isfinite(model.train_on_batch(image.astype(np.float32), mask)[0])
    scores = model.evaluate(image.astype(np.float32), mask, verbose=0, return_dict=True)
    assert 0 < scores["mean_iou"] < 1
    randomize(model, seed=1)
    logits = model.predict_on_batch(image.astype(np.float32))[0]
    tflite = convert.to_tflite(simplify(model), "fp32")
    low, high = np.sort(logits, axis=-1)[..., -2:].transpose(2, 0, 1)
    clear = high - low > 1e-3 * logits.std()  # Random weights leave ties along rows.
    agree = TFLiteModel(tflite)(image[0]) == logits.argmax(-1)
    assert clear.mean() > 0.98 and agree[clear].mean() >= 0.999


UNDER_JAX = """
import sys, keras, numpy as np
from kseg import models
from kseg.models.attention_maps import attention_maps
assert keras.backend.backend() == "jax"
folder = sys.argv[1]
images = np.load(f"{folder}/images.npy")
for name in sys.argv[2:]:
    model = models.build(name, (97, 161), 3, encoder_alpha=0.35, decoder_channels=8)
    model.load_weights(f"{folder}/{name}.weights.h5")
    np.save(f"{folder}/{name}.npy", model.predict_on_batch(images))
    if "segformer" in name:
        assert len(attention_maps(model, images[0])) == 4
"""


@pytest.mark.slow
def test_logits_under_jax_equal_those_under_tensorflow(tmp_path):
    """Same weights, all families: the largest difference is below 1e-3 of the largest logit."""
    pytest.importorskip("jax", reason="the extra `jax` is not installed")
    np.save(tmp_path / "images.npy", images())
    expected = {}
    for name in FAMILIES:
        model = models.build(name, SIZE, 3, **THIN)
        randomize(model, seed=0)
        model.save_weights(tmp_path / f"{name}.weights.h5")
        expected[name] = model.predict_on_batch(images())
    done = subprocess.run(
        [sys.executable, "-c", UNDER_JAX, str(tmp_path), *FAMILIES],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | JAX,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for name, logits in expected.items():
        got = np.load(tmp_path / f"{name}.npy")
        assert np.abs(got - logits).max() < 1e-3 * np.abs(logits).max(), name
