"""The auxiliary loss of PSPNet (Zhao et al., 2017, arXiv:1612.01105, sec. 3.3).

A small second head predicts the masks from the encoder's stage before the last, so that this stage
gets a gradient of its own. The head exists during training only.
"""

import re
from typing import Any

import keras
from keras import layers

from kseg.errors import InputError
from kseg.models.blocks import conv_bn_relu, resize

CHANNELS = 256  # A quarter of the stage's 1024, as in mmsegmentation's FCN auxiliary head.


def add_auxiliary(model: keras.Model, weight: float) -> "WithAuxiliary":
    """Returns `model` with an auxiliary head whose loss has the weight `weight` (0.4 in the paper).

    Raises InputError unless the model's encoder is a ResNet (has a layer conv4_block<last>_out).
    """
    blocks = [x for x in model.layers if re.fullmatch(r"conv4_block\d+_out", x.name)]
    if not blocks:
        raise InputError(
            f"auxiliary_weight {weight:g}: '{model.name}' has no encoder with a fourth stage "
            "(ResNet); use --auxiliary-weight 0"
        )
    logits = model.output
    x = conv_bn_relu(blocks[-1].output, CHANNELS, 3, name="auxiliary")
    x = layers.Dropout(0.1, name="auxiliary_dropout")(x)
    x = layers.Conv2D(logits.shape[-1], 1, dtype="float32", name="auxiliary_logits_conv")(x)
    x = resize(x, logits.shape[1:3], name="auxiliary_logits", dtype="float32")
    return WithAuxiliary(model.input, logits, x, weight)


class WithAuxiliary(keras.Model):
    """A model with two outputs, logits and auxiliary logits, that trains on both.

    Metrics use the logits only, and outside training so does the loss: val_loss is the loss of the
    model that is saved.
    """

    def __init__(self, image: Any, logits: Any, auxiliary: Any, weight: float) -> None:
        super().__init__(image, [logits, auxiliary], name="with_auxiliary")
        self.auxiliary_weight = weight

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        logits, auxiliary = y_pred
        loss = super().compute_loss(x, y, logits, sample_weight, training)
        if not training:
            return loss
        second = super().compute_loss(x, y, auxiliary, sample_weight, training)
        return loss + self.auxiliary_weight * second

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict:
        return super().compute_metrics(x, y, y_pred[0], sample_weight)
