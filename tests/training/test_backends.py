"""Models, losses, metrics, optimizers and schedules under KERAS_BACKEND=jax (extra `jax`)."""

import os
import subprocess
import sys

import numpy as np
import pytest

from kseg.model_names import LOSSES
from kseg.training import losses
from tests.conftest import JAX, ROOT

TRAIN_ONE_STEP = """
import keras, numpy as np, tensorflow as tf
from kseg import labels, models
from kseg.config import Config
from kseg.model_names import LOSSES
from kseg.training import losses, metrics, optimizers, schedules
from kseg.training.ema import StatisticsEstimator, swap
from kseg.training.resume import random_state
assert keras.backend.backend() == "jax"
rng = np.random.default_rng(0)
images = rng.uniform(0, 255, (2, 33, 65, 3)).astype("float32")
masks = rng.integers(0, 4, (2, 33, 65))  # 3: direct or alternative.
logits = rng.normal(size=(2, 33, 65, 3)).astype("float32")
for name in LOSSES:
    loss = losses.build(name, [1, 2, 3], unions=((0, 1),))
    print(name, float(loss(masks, logits)))
model = models.build({name!r}, (33, 65), 3, encoder_alpha=0.35, decoder_channels=8)
config = Config(
    optimizer="adamw", weight_decay=0.01, encoder_learning_rate_factor=0.5, ema_momentum=0.9,
    schedule="poly", warmup_steps=2, gradient_accumulation_steps=2,
)
model.compile(
    optimizers.build(config, schedules.build(config, 10), model.trainable_variables[:4]),
    losses.build("+".join(LOSSES), [1, 2, 3], unions=((0, 1),)),
    metrics=[metrics.SegmentationMetrics(labels.BDD100K_DRIVABLE, unions=1)],
)
before = [w.numpy().copy() for w in model.trainable_weights]
for _ in range(4):  # Two updates: the average begins as the weights after the first.
    logs = model.train_on_batch(images, masks, return_dict=True)
assert np.isfinite(logs["loss"]), logs
assert 0 <= logs["mean_iou"] <= 1, logs
assert any((b != w.numpy()).any() for b, w in zip(before, model.trainable_weights))
after = [w.numpy().copy() for w in model.trainable_weights]
swap(model)
assert any((a != w.numpy()).any() for a, w in zip(after, model.trainable_weights))
swap(model)
assert all((a == w.numpy()).all() for a, w in zip(after, model.trainable_weights))
norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
before = [x.moving_mean.numpy() for x in norms], [v.numpy() for v in random_state(model)]
batches = tf.data.Dataset.from_tensors((images, masks)).repeat()
StatisticsEstimator(model).estimate(batches, 2)
assert all((a != x.moving_mean.numpy()).any() for a, x in zip(before[0], norms))
assert all((a == v.numpy()).all() for a, v in zip(before[1], random_state(model)))
assert all((a == w.numpy()).all() for a, w in zip(after, model.trainable_weights))
"""


@pytest.mark.parametrize(
    "name",
    [
        "deeplab_v3_plus_mobilenet_v2",
        pytest.param("segformer_b0", marks=pytest.mark.slow),
        pytest.param("unet", marks=pytest.mark.slow),
        pytest.param("unet_efficientnet_v2_b0", marks=pytest.mark.slow),
        pytest.param("deeplab_v3_plus_mobilenet_v3_small", marks=pytest.mark.slow),
        pytest.param("fcn_resnet50", marks=pytest.mark.slow),
        pytest.param("pspnet_resnet50", marks=pytest.mark.slow),
    ],
)
def test_a_training_step_under_jax(name):
    pytest.importorskip("jax", reason="the extra `jax` is not installed")
    done = subprocess.run(
        [sys.executable, "-c", TRAIN_ONE_STEP.format(name=name)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | JAX,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rng = np.random.default_rng(0)
    rng.uniform(0, 255, (2, 33, 65, 3))
    masks, logits = rng.integers(0, 4, (2, 33, 65)), rng.normal(size=(2, 33, 65, 3))
    values = dict(line.split() for line in done.stdout.splitlines())
    assert set(values) == set(LOSSES)
    for loss_name, value in values.items():
        loss = losses.build(loss_name, [1, 2, 3], unions=((0, 1),))
        assert float(value) == pytest.approx(float(loss(masks, logits.astype("float32"))), rel=1e-5)
