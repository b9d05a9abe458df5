"""Compares batch-norm statistics for the moving average of the weights (EMA).

    python scripts/benchmarks/ema_statistics.py --data data/demo-144x256 --size 72 128 [FLAGS]

FLAGS are kseg.train's. Trains once and validates after every epoch: the training weights, and their
average with three kinds of statistics: those of the training weights; these statistics averaged
like the weights; and those re-estimated from 20 training batches, as in torch's update_bn. Prints
the mean IoU of each. TensorFlow only.
"""

import argparse

import keras
import numpy as np
import tensorflow as tf

from kseg import presets
from kseg.data import pipeline, training_batches
from kseg.training import build_training

BATCHES = 20  # From which statistics are re-estimated.


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    presets.add_flags(parser)
    config = presets.resolve(parser.parse_args())
    keras.utils.set_random_seed(config.seed)
    manifest, _ = pipeline.open_split(config, "train")
    steps = pipeline.steps_per_epoch(config, manifest)
    model = build_training.build_compiled_model(config, manifest, steps)
    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    statistics = [v for x in norms for v in (x.moving_mean, x.moving_variance)]
    batches = iter(training_batches.training_dataset(config, cache="memory"))
    validation = pipeline.evaluation_dataset(config, "val")
    averaged = None
    print("epoch  training  EMA+current  EMA+averaged  EMA+re-estimated")
    for epoch in range(config.epochs):
        for _ in range(steps):
            model.train_on_batch(*next(batches))
            current = values(statistics)
            averaged = averaged or current
            momentum = config.ema_momentum
            averaged = [
                momentum * a + (1 - momentum) * c for a, c in zip(averaged, current, strict=True)
            ]
        weights = values(model.trainable_variables)
        scores = [mean_iou(model, validation)]
        assign(model.trainable_variables, model.optimizer._model_variables_moving_average)
        scores.append(mean_iou(model, validation))
        assign(statistics, averaged)
        scores.append(mean_iou(model, validation))
        assign(statistics, re_estimated(model, norms, statistics, config))
        scores.append(mean_iou(model, validation))
        assign(model.trainable_variables, weights)
        assign(statistics, current)
        print(f"{epoch + 1:5d}", *(f"{100 * score:12.1f}" for score in scores), flush=True)


def re_estimated(model, norms, statistics, config):
    """Returns the mean statistics of training batches under the model's present weights."""
    momenta = [x.momentum for x in norms]
    for norm in norms:
        norm.momentum = 0.0  # The moving statistics become those of the last batch.
    forward = tf.function(lambda image: model(image, training=True))
    sums = [np.zeros(v.shape, np.float64) for v in statistics]
    for image, _ in training_batches.training_dataset(config, cache="memory").take(BATCHES):
        forward(tf.cast(image, tf.float32))
        for total, value in zip(sums, values(statistics), strict=True):
            total += value
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return [total / BATCHES for total in sums]


def mean_iou(model, validation):
    return model.evaluate(validation, verbose=0, return_dict=True)["mean_iou"]


def values(variables):
    return [keras.ops.convert_to_numpy(v).copy() for v in variables]


def assign(variables, new):
    for variable, value in zip(variables, new, strict=True):
        variable.assign(value)


if __name__ == "__main__":
    main()
