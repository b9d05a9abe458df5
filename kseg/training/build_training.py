"""The model of a Config made ready for fit: optimizer, schedule, loss and metrics."""

import contextlib

import keras

from kseg import trained_model
from kseg.config import class_weight_numbers
from kseg.errors import InputError
from kseg.models.auxiliary import add_auxiliary
from kseg.models.cost import multiply_adds
from kseg.training import losses, metrics, optimizers, schedules


def build_compiled_model(config, manifest, steps):
    """Returns the compiled model of a Config for the data of a Manifest, `steps` an epoch.

    Raises InputError when the Config asks for what this model or data cannot give.
    """
    with _computing_in(config.mixed_precision):
        model, encoder = _build_model(config, manifest)
        if config.auxiliary_weight:
            model = add_auxiliary(model, config.auxiliary_weight)
    schedule = schedules.build(config, steps * config.epochs)
    model.compile(
        optimizer=optimizers.build(config, schedule, encoder),
        loss=losses.build(
            config.loss,
            class_weights(config, manifest),
            focal_gamma=config.focal_gamma,
            tversky_beta=config.tversky_beta,
        ),
        metrics=[metrics.SegmentationMetrics(manifest.labels)],
        # XLA on TensorFlow cannot compile the gradient of a resize; JAX needs it to be fast.
        jit_compile="auto" if keras.backend.backend() == "jax" else False,
    )
    _build_metrics(model)
    return model


def _build_metrics(model):
    """Keras makes the metrics' variables in the first step; to be resumed they must be there."""
    logits = [keras.ops.zeros((1, *output.shape[1:])) for output in model.outputs]
    image = keras.ops.zeros((1, *model.inputs[0].shape[1:]))
    mask = keras.ops.zeros(image.shape[:3], "int32")
    model.compute_metrics(image, mask, logits if len(logits) > 1 else logits[0])
    model.reset_metrics()


def cost(model):
    """Returns parameters and multiply-adds a frame of what is kept of a trained model."""
    kept = trained_model.inference_model(model)
    return kept.count_params(), multiply_adds(kept)


def class_weights(config, manifest):
    """Returns the weight of each class in the loss, or None. Raises InputError."""
    weights = class_weight_numbers(config.class_weights)
    if weights == "auto":
        if not any(manifest.splits["train"].shares):
            raise InputError(f"{config.data}: split 'train' has no labelled pixel to weigh")
        return losses.median_frequency_weights(manifest.splits["train"].shares)
    names = manifest.labels.names
    if weights and len(weights) != len(names):
        raise InputError(
            f"'class_weights' has {len(weights)} numbers, {config.data} has {len(names)} classes: "
            f"{', '.join(names)}"
        )
    return weights


def _build_model(config, manifest):
    """Returns the model, and the encoder variables that learn at a rate of their own."""
    model, encoder = trained_model.build_model_and_encoder(
        config, manifest.labels, config.encoder_weights
    )
    factor = config.encoder_learning_rate_factor
    if factor == 1 or config.freeze_encoder:
        return model, ()
    if encoder is None:
        raise InputError(
            f"encoder_learning_rate_factor {factor:g}: {config.model} has no encoder; use "
            "--encoder-learning-rate-factor 1"
        )
    return model, encoder.trainable_variables


@contextlib.contextmanager
def _computing_in(precision):
    """Layers built inside compute in 16 bits and keep float32 weights; "off": as always."""
    before = keras.config.dtype_policy()
    if precision != "off":
        keras.config.set_dtype_policy(f"mixed_{precision}")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
