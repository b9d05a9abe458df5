"""Published MiT and SegFormer weights, converted to kseg's layers.

The sources are Hugging Face (nvidia/mit-b*, nvidia/segformer-b*) and keras-hub, both converted from
the same originals. Each source is converted to one dict, {path of our weight: array}, and
weight_files.assign copies that into a model.

Other implementations compute almost the same as ours. Where they differ, ours follows the paper's
own code, which trained the weights (NVlabs/SegFormer, mmseg/models/backbones/mix_transformer.py):

                epsilon of block and stage norms   GELU   sizes
  ours          1e-6                               erf    any
  transformers  1e-5                               erf    any
  keras-hub     1e-6 in blocks, 1e-5 after stages  tanh   square only
  keras-cv      another network: see below

keras-cv's MiT pads asymmetrically, has norms with epsilon 1e-3 and reorders its tokens before it
reduces keys and values. Its weights (mit_b0_imagenet) fit its own code only, so they are not
supported here.

With random weights, B0's logits agree with Hugging Face's within 5e-6 of the largest logit at 64x64
and 97x161, and with keras-hub's at 64x64 within 5e-4, or 6e-6 when keras-hub uses the erf GELU
(tests/models/test_pretrained.py requires 1e-4; where PyTorch is not installed, by the numbers in
tests/segformer_reference.json).

NVIDIA published the originals for research and evaluation only (NVlabs/SegFormer, README).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kseg.errors import InputError
from kseg.models.pretrained import pytorch, weight_files

DATA_SETS = ("ade20k", "cityscapes")  # keras-hub's encoders are fine-tuned on these.

_BLOCK_LAYERS = (  # Name in kseg, in Hugging Face's files, in keras-hub.
    ("norm1", "layer_norm_1", "norm1"),
    ("attention_query", "attention.self.query", "attn.q"),
    ("attention_key", "attention.self.key", "attn.k"),
    ("attention_value", "attention.self.value", "attn.v"),
    ("attention_reduce", "attention.self.sr", "attn.sr"),
    ("attention_reduce_norm", "attention.self.layer_norm", "attn.norm"),
    ("attention_project", "attention.output.dense", "attn.proj"),
    ("norm2", "layer_norm_2", "norm2"),
    ("ffn_expand", "mlp.dense1", "mlp.fc1"),
    ("ffn_depthwise", "mlp.dwconv.dwconv", "mlp.dwconv"),
    ("ffn_project", "mlp.dense2", "mlp.fc2"),
)


def load_encoder(encoder: keras.Model, source: str, name: str) -> None:
    """Loads weights into the encoder that mit.build made of the variant `name` ("b0" to "b5").

    source: "none"; "ade20k" or "cityscapes" for keras-hub's encoder, downloaded once (extra
    `pretrained`); or a .weights.h5 file written by kseg.import_weights. Raises InputError.
    """
    if source == "none":
        return
    if source in DATA_SETS:
        weight_files.assign(
            encoder, from_keras_hub(_download(source, name)), f"keras-hub's mit_{name}, {source}"
        )
    elif source == "imagenet":
        raise InputError(
            "encoder_weights 'imagenet': Hugging Face has those of MiT (nvidia/mit-b0 to b5); "
            "download the folder and run python -m kseg.import_weights hf FOLDER; or use ade20k or "
            "cityscapes (fine-tuned from ImageNet, from keras-hub)"
        )
    elif not Path(source).is_file():
        raise InputError(
            f"{source}: no such encoder weights; use none, ade20k, cityscapes or a .weights.h5 "
            "file written by python -m kseg.import_weights"
        )
    else:
        weight_files.load(encoder, source, f"the encoder MiT-{name.upper()}")


def from_hugging_face(
    tensors: Mapping[str, np.ndarray], depths: Sequence[int], where: str
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Returns ({encoder weight path: array}, {head weight path: array}) of a PyTorch state dict.

    tensors: {name: array} with the names of the published files, of a SegformerModel with or
    without a segmentation head; without one, the second dict is empty. num_batches_tracked (a
    counter of batch norm) and the 1000-way ImageNet classifier of nvidia/mit-b* are left out.
    Raises InputError, which names `where`, on a tensor that no SegFormer has.
    """
    layers = dict(_hugging_face_layers(depths))
    encoder: dict[str, np.ndarray] = {}
    head: dict[str, np.ndarray] = {}
    for name, tensor in tensors.items():
        module, _, kind = name.removeprefix("segformer.").rpartition(".")
        if module == "classifier" or kind == "num_batches_tracked":
            continue
        ours = layers.get(module)
        if ours is None:
            raise InputError(f"{where}: has {name}, which no SegFormer with {depths} blocks has")
        values = head if module.startswith("decode_head") else encoder
        norm = ours.endswith(("norm", "norm1", "norm2", "_bn"))
        depthwise = ours.endswith("depthwise")
        path, value = pytorch.keras_weight(ours, kind, tensor, norm=norm, depthwise=depthwise)
        values[path] = value
    return encoder, head


def _hugging_face_layers(depths):
    """Yields (Hugging Face's module, our layer)."""
    for stage, depth in enumerate(depths):
        ours = f"stage{stage + 1}"
        yield f"encoder.patch_embeddings.{stage}.proj", f"{ours}_embed"
        yield f"encoder.patch_embeddings.{stage}.layer_norm", f"{ours}_embed_norm"
        for block in range(depth):
            for name, theirs, _ in _BLOCK_LAYERS:
                yield f"encoder.block.{stage}.{block}.{theirs}", f"{ours}_block{block + 1}_{name}"
        yield f"encoder.layer_norm.{stage}", f"{ours}_norm"
        yield f"decode_head.linear_c.{stage}.proj", f"head/project{4 * 2**stage}"
    yield "decode_head.linear_fuse", "head/fuse"
    yield "decode_head.batch_norm", "head_bn"
    yield "decode_head.classifier", "logits_conv"


def from_keras_hub(backbone: Any) -> dict[str, np.ndarray]:
    """Returns {encoder weight path: array} of a keras_hub.models.MiTBackbone."""
    values: dict[str, np.ndarray] = {}
    norms = [x for x in backbone.layers if type(x).__name__ == "LayerNormalization"]
    for stage, depth in enumerate(backbone.layerwise_depths):
        ours = f"stage{stage + 1}"
        embed = backbone.get_layer(f"patch_and_embed_{stage}")
        values |= _layer_weights(f"{ours}_embed", embed.proj)
        values |= _layer_weights(f"{ours}_embed_norm", embed.norm)
        for block in range(depth):
            theirs = backbone.get_layer(f"hierarchical_encoder_{stage}_{block}")
            values |= block_from_keras_hub(theirs, f"{ours}_block{block + 1}")
        values |= _layer_weights(f"{ours}_norm", norms[stage])
    return values


def block_from_keras_hub(block: Any, name: str) -> dict[str, np.ndarray]:
    """Returns {weight path: array} of a HierarchicalTransformerEncoder (keras-hub, keras-cv)."""
    values: dict[str, np.ndarray] = {}
    for ours, _, theirs in _BLOCK_LAYERS:
        outer, _, inner = theirs.rpartition(".")
        layer = getattr(getattr(block, outer) if outer else block, inner, None)
        if layer is not None:  # Stages that do not reduce keys have no `sr` and no norm for it.
            values |= _layer_weights(f"{name}_{ours}", layer)
    return values


def _layer_weights(name, layer):
    """{weight path: array} of a Keras layer; a Dense kernel becomes that of a 1x1 convolution."""
    values = {f"{name}/{w.name}": np.asarray(w.numpy(), np.float32) for w in layer.weights}
    for path, value in values.items():
        if path.endswith("/kernel") and value.ndim == 2:
            values[path] = value[None, None]
    return values


def _download(source, name):
    """Returns keras-hub's MiTBackbone with its weights. Raises InputError."""
    try:
        import keras_hub
    except ImportError as error:
        raise InputError(
            f"encoder_weights '{source}': needs keras-hub, from the extra `pretrained`: "
            "./scripts/install pretrained"
        ) from error
    presets = keras_hub.models.MiTBackbone.presets
    preset = next(p for p in presets if p.startswith(f"mit_{name}_{source}"))
    try:
        return keras_hub.models.MiTBackbone.from_preset(preset)
    except Exception as error:  # kagglehub raises errors of several libraries.
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"keras-hub's preset {preset} could not be downloaded ({reason}); give a local file "
            "with --encoder-weights FILE or train from scratch with --encoder-weights none"
        ) from error
