"""The compiled model of a Config: model, optimizer, learning-rate schedule, loss and metrics."""

import contextlib
from collections.abc import Iterator

import keras

from kseg import trained_model
from kseg.config import Config, class_weight_numbers
from kseg.errors import InputError
from kseg.manifest import Manifest
from kseg.mixture import read_mixture
from kseg.models.auxiliary import add_auxiliary
from kseg.models.cost import multiply_adds
from kseg.models.resize import resize_by_matrices
from kseg.runtime import backend_devices
from kseg.training import (
    distributed,
    losses,
    metrics,
    mixed_precision,
    optimizers,
    schedules,
    warm_start,
)


def build_compiled_model(config: Config, manifest: Manifest, steps_per_epoch: int) -> keras.Model:
    """Returns the compiled model of a Config for the data of a Manifest.

    For several devices, call it within kseg.training.distributed.scope. Raises InputError for
    settings that this model or data set does not support.
    """
    precision = config.mixed_precision
    if precision == "auto":
        precision = mixed_precision.choose(backend_devices.find())
    with _dtype_policy(precision):
        model, encoder = _build_model(config, manifest)
        if config.auxiliary_weight:
            model = add_auxiliary(model, config.auxiliary_weight)
    replicas = distributed.replicas()
    if replicas > 1:
        distributed.synchronize_batch_norm(model)
    jax = keras.backend.backend() == "jax"
    if config.xla and not jax:
        resize_by_matrices(model)
    unions = read_mixture(config, manifest).unions
    schedule = schedules.build(config, steps_per_epoch * config.epochs)
    model.compile(
        optimizer=optimizers.build(config, schedule, encoder, replicas=replicas),
        loss=losses.build(
            config.loss,
            class_weights(config, manifest),
            focal_gamma=config.focal_gamma,
            tversky_beta=config.tversky_beta,
            unions=unions,
        ),
        metrics=[metrics.SegmentationMetrics(manifest.labels, unions=len(unions))],
        # XLA under JAX is right without resize_by_matrices, and JAX needs it to be fast.
        jit_compile="auto" if jax else config.xla,
    )
    _build_metrics(model)
    return model


def initialize(model: keras.Model, config: Config, manifest: Manifest) -> None:
    """Gives a new model the weights that config.init names, if any, and prints which.

    Raises InputError as kseg.training.warm_start does.
    """
    if config.init != "none":
        print(warm_start.warm_start(model, config, manifest.labels))


def cost(model: keras.Model) -> tuple[int, int]:
    """Returns parameters, and multiply-adds per frame, of a model used for inference."""
    inference = trained_model.inference_model(model)
    return inference.count_params(), multiply_adds(inference)


def class_weights(config: Config, manifest: Manifest) -> list[float] | None:
    """Returns the weight of each class in the loss, or None. Raises InputError."""
    weights = class_weight_numbers(config.class_weights)
    if weights == "auto":
        return losses.median_frequency_weights(manifest.splits["train"].shares)
    names = manifest.labels.names
    if weights and len(weights) != len(names):
        raise InputError(
            f"'class_weights' has {len(weights)} numbers, {config.data} has {len(names)} classes: "
            f"{', '.join(names)}"
        )
    return weights


def _build_model(config, manifest):
    """Returns the model, and the encoder variables that have a learning rate of their own."""
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


def _build_metrics(model):
    """Creates the metrics' variables, which Keras would only create in the first step.

    A checkpoint can only be restored into variables that exist.
    """
    logits = [keras.ops.zeros((1, *output.shape[1:])) for output in model.outputs]
    image = keras.ops.zeros((1, *model.inputs[0].shape[1:]))
    mask = keras.ops.zeros(image.shape[:3], "int32")
    model.compute_metrics(image, mask, logits if len(logits) > 1 else logits[0])
    model.reset_metrics()


@contextlib.contextmanager
def _dtype_policy(precision: str) -> Iterator[None]:
    """Layers built inside compute in `precision` and keep float32 weights; "off": no change."""
    before = keras.config.dtype_policy()
    if precision != "off":
        keras.config.set_dtype_policy(f"mixed_{precision}")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
