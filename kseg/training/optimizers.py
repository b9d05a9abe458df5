"""Optimizers whose learning rate and weight decay depend on the variable."""

import keras


def build(config, learning_rate, encoder=()):
    """Returns the optimizer of a Config for a learning rate or schedule.

    encoder: the keras.Variables that learn at encoder_learning_rate_factor times the rate. All
    its state is in `optimizer.variables`, so it is saved and resumed as Keras' own.
    """
    make = {"adam": Adam, "adamw": Adam, "sgd": SGD}[config.optimizer]
    options = {"momentum": config.momentum} if config.optimizer == "sgd" else {}
    accumulated = config.gradient_accumulation_steps
    optimizer = make(
        learning_rate,
        global_clipnorm=config.clip_norm or None,
        gradient_accumulation_steps=accumulated if accumulated > 1 else None,
        use_ema=config.ema_momentum > 0,
        ema_momentum=config.ema_momentum,
        name=config.optimizer,
        **options,
    )
    return optimizer.by_variable(
        encoder,
        factor=config.encoder_learning_rate_factor,
        decay=config.weight_decay,
        decoupled=config.optimizer == "adamw",
    )


class _ByVariable:
    """Mixin for a Keras optimizer: a factor of the learning rate, and a decay, for each variable.

    Keras has one decay for all, decoupled also for SGD, and one learning rate. Here the decay is
    decoupled for AdamW (arXiv:1711.05101: w -= rate * factor * decay * w) and L2 for SGD
    (gradient += decay * w), as the papers that train with SGD mean it. Vectors, that is
    the scales and shifts of norms and all biases, have none.
    """

    def by_variable(self, encoder, *, factor, decay, decoupled):
        """Sets the rules; call it before the optimizer is built. Returns the optimizer."""
        self.factors = {id(variable): factor for variable in encoder}
        self.decay, self.decoupled = decay, decoupled
        self.sum_over_devices, self.copies = None, 1
        return self

    def build(self, variables):
        super().build(variables)
        self.rules = tuple(
            (self.factors.get(id(v), 1.0), self.decay if len(v.shape) > 1 else 0.0)
            for v in variables
        )

    def apply(self, grads, trainable_variables=None):
        if self.global_clipnorm and self.sum_over_devices:
            # Set by kseg.training.distributed: Keras on TensorFlow would clip each device's own.
            grads, self.copies = self.sum_over_devices(grads)
        return super().apply(grads, trainable_variables)

    def update_step(self, gradient, variable, learning_rate):
        if self.copies > 1:
            gradient = gradient / self.copies
        factor, decay = self.rules[self._get_variable_index(variable)]
        if factor != 1:
            learning_rate = learning_rate * factor
        if decay and self.decoupled:
            self.assign_sub(variable, variable * (learning_rate * decay))
        elif decay:
            gradient = gradient + variable * decay
        super().update_step(gradient, variable, learning_rate)


class Adam(_ByVariable, keras.optimizers.Adam):
    """Adam (arXiv:1412.6980), and with decoupled decay AdamW."""


class SGD(_ByVariable, keras.optimizers.SGD):
    """Stochastic gradient descent with momentum."""
