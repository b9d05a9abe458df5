"""The attention weights of a SegFormer, by stage, block and head."""

import re
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from kseg.errors import InputError
from kseg.models.encoders.mit import DotProductAttention, attention_weights

_NAME = re.compile(r"stage(\d+)_block(\d+)_attention")


class StageAttention(NamedTuple):
    """Attention weights of one stage of the encoder.

    weights (blocks, heads, queries, keys) float32; each row sums to 1. Queries and keys are the
    cells of two grids, query_grid and key_grid (height, width), row by row:
    weights[b, h, q].reshape(key_grid) is what head h of block b attends to from the cell
    divmod(q, query_grid[1]). Queries cover the image. A key covers a square of `reduction` queries
    a side (mit.Variant). Queries left over at the lower and right edges belong to no key; there are
    none where height and width are multiples of 32.
    """

    weights: np.ndarray
    query_grid: tuple[int, int]
    key_grid: tuple[int, int]


def attention_maps(model: keras.Model, image: np.ndarray) -> list[StageAttention]:
    """Returns the attention weights for one image, finest stage first, as at inference.

    model: a SegFormer or its encoder; it is not changed. image (H, W, 3) RGB in [0, 255], of the
    model's input size. Raises InputError when the model has no attention or the image has another
    size.
    """
    attention_layers = _attention_layers(model)
    if not attention_layers:
        raise InputError(f"{model.name}: has no attention layers; use a SegFormer")
    image = np.asarray(image, np.float32)
    if image.shape != model.input_shape[1:]:
        raise InputError(
            f"image is {image.shape}, but {model.name} takes {model.input_shape[1:]}; fit it with "
            "kseg.preprocess.fit_image"
        )
    # A second model on the same layers, whose outputs are the inputs of every attention layer.
    inputs_model = keras.Model(
        model.input, {layer.name: layer.input for layer in attention_layers.values()}
    )
    inputs = inputs_model(image[None], training=False)
    stages = []
    for stage in sorted({stage for stage, _ in attention_layers}):
        names = [layer.name for (s, _), layer in attention_layers.items() if s == stage]
        weights = [
            ops.convert_to_numpy(attention_weights(query, key))[0]
            for query, key, _ in (inputs[name] for name in names)
        ]
        query_grid, key_grid = (_grid(model, f"{names[0]}_{kind}") for kind in ("query", "key"))
        stages.append(StageAttention(np.stack(weights), query_grid, key_grid))
    return stages


def _attention_layers(model):
    """{(stage, block): layer}, in order."""
    by_place = {}
    for layer in model.layers:
        if isinstance(layer, DotProductAttention):
            stage, block = map(int, _NAME.fullmatch(layer.name).groups())
            by_place[stage, block] = layer
    return dict(sorted(by_place.items()))


def _grid(model, name):
    return tuple(model.get_layer(name).output.shape[1:3])
