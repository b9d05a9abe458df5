import dataclasses

import keras
import numpy as np
import pytest

from kseg import trained_model
from kseg.errors import InputError
from kseg.manifest import read_manifest
from kseg.training import build_training, out_of_memory


@pytest.fixture(scope="module")
def manifest(dataset):
    return read_manifest(dataset)


def batch(config, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.uniform(0, 255, (2, *config.size, 3)).astype(np.float32)
    return images, rng.integers(0, 3, (2, *config.size)).astype(np.int32)


def small(config, **fields):
    return dataclasses.replace(config, size=(33, 65), **fields)


def build(config, manifest):
    keras.utils.set_random_seed(0)
    return build_training.build_compiled_model(config, manifest, steps_per_epoch=6)


@pytest.mark.parametrize("precision", ["bfloat16", pytest.param("float16", marks=pytest.mark.slow)])
def test_mixed_precision_computes_in_16_bits_and_keeps_float32(
    config, manifest, tmp_path, precision
):
    config = small(config, mixed_precision=precision)
    model = build(config, manifest)
    assert keras.config.dtype_policy().name == "float32"
    assert model.get_layer("decoder_1_conv").compute_dtype == precision
    assert {w.dtype for w in model.trainable_weights} == {"float32"}
    images, masks = batch(config)
    logits = model.predict_on_batch(images)
    assert logits.dtype == np.float32
    assert np.isfinite(model.train_on_batch(images, masks, return_dict=True)["loss"])
    # The model that evaluate and export build from the same config computes in float32.
    trained_model.save_weights(trained_model.inference_model(model), tmp_path / "w.weights.h5")
    again = trained_model.build_model(config, manifest.labels)
    again.load_weights(tmp_path / "w.weights.h5")
    assert {layer.compute_dtype for layer in again.layers} == {"float32"}
    difference = np.abs(again.predict_on_batch(images) - model.predict_on_batch(images)).max()
    assert 0 < difference < 0.2


def test_only_the_encoder_learns_slower(config, manifest):
    # Plain SGD without clipping, so that the steps are proportional.
    config = small(config, optimizer="sgd", momentum=0.0, schedule="constant", clip_norm=0.0)
    moved = {}
    for factor in (1.0, 0.25):
        model = build(
            dataclasses.replace(config, encoder_learning_rate_factor=factor, learning_rate=1e-3),
            manifest,
        )
        before = {w.path: w.numpy() for w in model.trainable_weights}
        model.train_on_batch(*batch(config))
        moved[factor] = {w.path: w.numpy() - before[w.path] for w in model.trainable_weights}
    for path, full in moved[1.0].items():
        in_decoder = path.startswith(("aspp", "decoder", "detail", "logits"))
        share = 1.0 if in_decoder else 0.25
        np.testing.assert_allclose(moved[0.25][path], share * full, rtol=1e-2, atol=3e-6)
    assert any(path.startswith("Conv1") for path in moved[1.0])


def test_a_model_without_encoder_has_no_encoder_learning_rate(config, manifest):
    config = small(config, model="unet", encoder_learning_rate_factor=0.1)
    with pytest.raises(InputError, match=r"factor 0\.1: unet has no encoder"):
        build(config, manifest)


@pytest.mark.slow
def test_the_auxiliary_head_trains_and_is_not_saved(config, manifest, tmp_path):
    config = small(config, model="fcn_resnet50", decoder_channels=8, clip_norm=0.0)
    plain = build(config, manifest)
    model = build(dataclasses.replace(config, auxiliary_weight=0.4), manifest)
    # 3x3 convolution 1024 -> 256, batch norm, 1x1 convolution to 3 classes.
    head = 9 * 1024 * 256 + 4 * 256 + 256 * 3 + 3
    assert model.count_params() == plain.count_params() + head
    images, masks = batch(config)
    logs = model.test_on_batch(images, masks, return_dict=True)
    assert {"loss", "mean_iou", "iou/direct"} <= logs.keys()
    logits, auxiliary = model.predict_on_batch(images)
    assert logits.shape == auxiliary.shape == (2, 33, 65, 3)
    # Outside training, the loss is that of the logits; in training, the auxiliary loss is added.
    alone = float(model.loss(masks, logits))
    both = alone + 0.4 * float(model.loss(masks, auxiliary))
    assert logs["loss"] == pytest.approx(alone, rel=1e-5)
    outputs = [keras.ops.convert_to_tensor(x) for x in (logits, auxiliary)]
    assert float(model.compute_loss(images, masks, outputs)) == pytest.approx(both, rel=1e-5)
    before = model.get_layer("auxiliary_logits_conv").kernel.numpy()
    model.train_on_batch(images, masks)
    assert (before != model.get_layer("auxiliary_logits_conv").kernel.numpy()).any()
    trained_model.save_weights(trained_model.inference_model(model), tmp_path / "w.weights.h5")
    plain.load_weights(tmp_path / "w.weights.h5")
    np.testing.assert_allclose(
        plain.predict_on_batch(images), model.predict_on_batch(images)[0], rtol=1e-5, atol=1e-5
    )


def test_an_auxiliary_head_needs_a_resnet(config, manifest):
    with pytest.raises(InputError, match=r"auxiliary_weight 0\.4.*deeplab_v3_plus"):
        build(small(config, auxiliary_weight=0.4), manifest)


def test_class_weights_are_parsed_checked_and_balanced(config, manifest):
    def weights(words):
        return build_training.class_weights(
            dataclasses.replace(config, class_weights=words), manifest
        )

    assert weights("none") is None and weights("1 2,0.5") == [1.0, 2.0, 0.5]
    shares = manifest.splits["train"].shares
    assert weights("auto") == pytest.approx([sorted(shares)[1] / share for share in shares])
    with pytest.raises(InputError, match=r"2 numbers.* 3 classes: direct, alternative"):
        weights("1,2")


def test_metrics_have_their_variables_before_the_first_step(config, manifest):
    # Otherwise a checkpoint within an epoch could not be restored.
    model = build(small(config), manifest)
    count = len(model.metrics_variables)
    model.train_on_batch(*batch(small(config)))
    assert count == len(model.metrics_variables) == 4  # Loss sum and count; low and high counts.


def test_memory_by_hand(config):
    image = keras.Input((4, 6, 3))
    x = keras.layers.Conv2D(5, 1, name="logits")(image)
    model = keras.Model(image, x)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss="mse")
    # 20 weights, their gradients and momenta, the learning rate; the step counter is an int64.
    state = 4 * (20 + 20 + 20 + 1) + 8
    # Input and output, for each frame of the batch.
    activations = config.batch_size * 4 * (4 * 6 * 3 + 4 * 6 * 5)
    model.optimizer.build(model.trainable_variables)
    assert out_of_memory.estimate(model, config.batch_size) == (state, activations)


@pytest.mark.slow
def test_a_step_compiled_with_xla_trains_as_one_that_is_not(config, manifest):
    images, masks = batch(small(config))
    losses = []
    for xla in (False, True):
        model = build(small(config, xla=xla, optimizer="sgd", learning_rate=1e-2), manifest)
        assert bool(model.jit_compile) == xla
        for layer in model.layers:
            if isinstance(layer, keras.layers.Dropout):
                layer.rate = 0  # XLA draws other random numbers.
        losses.append([model.train_on_batch(images, masks)[0] for _ in range(3)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
