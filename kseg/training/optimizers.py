"""Optimizers whose learning rate and weight decay depend on the variable."""

from collections.abc import Iterable

import keras

from kseg.config import Config
from kseg.training import distributed


def build(
    config: Config,
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
    encoder: Iterable[keras.Variable] = (),
    *,
    replicas: int = 1,
) -> keras.optimizers.Optimizer:
    """Returns the optimizer of a Config for a learning rate or schedule.

    encoder: the variables that learn at encoder_learning_rate_factor times the rate. replicas: the
    number of devices among which TensorFlow splits each batch. All state is in
    `optimizer.variables`, so it is saved and resumed like that of any Keras optimizer.
    """
    optimizer = {"adam": Adam, "adamw": Adam, "sgd": SGD}[config.optimizer]
    accumulated = config.gradient_accumulation_steps
    return optimizer(
        learning_rate,
        encoder_paths=[variable.path for variable in encoder],
        encoder_factor=config.encoder_learning_rate_factor,
        decay=config.weight_decay,
        decoupled=config.optimizer == "adamw",
        replicas=replicas,
        global_clipnorm=config.clip_norm / replicas or None,
        gradient_accumulation_steps=accumulated if accumulated > 1 else None,
        use_ema=config.ema_momentum > 0,
        ema_momentum=config.ema_momentum,
        name=config.optimizer,
        **({"momentum": config.momentum} if config.optimizer == "sgd" else {}),
    )


class _PerVariable:
    """Mixin for Keras optimizers: learning rate and weight decay by variable.

    Keras has one learning rate and one decay for all variables, and its decay is decoupled for SGD
    too. Here the decay is decoupled for AdamW (arXiv:1711.05101: w -= rate * factor * decay * w)
    and L2 for SGD (gradient += decay * w), as in the papers that train with SGD. Vectors do not
    decay: these are the scales and shifts of norms, and all biases.
    """

    def __init__(
        self,
        learning_rate,
        *,
        encoder_paths=(),  # Paths of the variables that learn at encoder_factor times the rate.
        encoder_factor=1.0,
        decay=0.0,
        decoupled=False,
        replicas=1,
        **keras_options,
    ):
        super().__init__(learning_rate, **keras_options)
        self.encoder_paths, self.encoder_factor = tuple(encoder_paths), encoder_factor
        self.decay, self.decoupled, self.replicas = decay, decoupled, replicas

    def get_config(self):
        config = super().get_config()
        del config["weight_decay"]  # Always None: Keras' own decay is not used.
        return config | {
            "encoder_paths": self.encoder_paths,
            "encoder_factor": self.encoder_factor,
            "decay": self.decay,
            "decoupled": self.decoupled,
            "replicas": self.replicas,
        }

    def build(self, variables):
        super().build(variables)
        self.factors_and_decays = tuple(
            (
                self.encoder_factor if variable.path in self.encoder_paths else 1.0,
                self.decay if len(variable.shape) > 1 else 0.0,
            )
            for variable in variables
        )

    def apply(self, grads, trainable_variables=None):
        # On several devices, Keras on TensorFlow clips the gradients of each device and then adds
        # them up. The sum must be clipped instead: each device clips the mean over the n devices
        # to clip_norm / n (set by `build` above), and n of these add up to the clipped sum.
        if self.global_clipnorm and self.replicas > 1:
            grads = distributed.mean_over_replicas(grads)
        return super().apply(grads, trainable_variables)

    def update_step(self, gradient, variable, learning_rate):
        # Not variable.path: on TensorFlow this is a tf.Variable, which has none.
        factor, decay = self.factors_and_decays[self._get_variable_index(variable)]
        if factor != 1:
            learning_rate = learning_rate * factor
        if decay and self.decoupled:
            self.assign_sub(variable, variable * (learning_rate * decay))
        elif decay:
            gradient = gradient + variable * decay
        super().update_step(gradient, variable, learning_rate)


class Adam(_PerVariable, keras.optimizers.Adam):
    """Adam (arXiv:1412.6980); AdamW with decoupled decay."""


class SGD(_PerVariable, keras.optimizers.SGD):
    """Stochastic gradient descent with momentum."""
