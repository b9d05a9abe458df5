"""Published MiT and SegFormer weights, copied into our layers.

Hugging Face's (nvidia/mit-b*, nvidia/segformer-b*) and keras-hub's, which were converted from the
same originals. Each source becomes one dict, {our weight's path: array}, and `fill` alone copies.

Their code computes almost what ours does. Where they differ, ours is as the paper's own code, with
which the weights were made (NVlabs/SegFormer, mmseg/models/backbones/mix_transformer.py):

                epsilon of block and stage norms   GELU   sizes
  ours          1e-6                               erf    any
  transformers  1e-5                               erf    any
  keras-hub     1e-6 in blocks, 1e-5 after stages  tanh   square only
  keras-cv      another network: see below

keras-cv's MiT pads lopsidedly, has norms with epsilon 1e-3 and, before it reduces keys and values,
reads its tokens in another order; its weights (mit_b0_imagenet) fit its own code alone, so they are
not offered here.

With random weights B0's logits agree with Hugging Face's to 5e-6 of the largest at 64x64 and at
97x161, and with keras-hub's at 64x64 to 5e-4, to 6e-6 once its GELU is the erf one
(tests/models/test_pretrained.py holds 1e-4).

NVIDIA published the originals for research and evaluation only (NVlabs/SegFormer, README).
"""

from pathlib import Path

import numpy as np

from kseg.errors import InputError
from kseg.models.pretrained import weight_files

DATA_SETS = ("ade20k", "cityscapes")  # What keras-hub's encoders were fine-tuned on.

_PARTS = (  # Of a block: ours, Hugging Face's, keras-hub's.
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
_NORM_WEIGHTS = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}


def load_encoder(encoder, source, name):
    """Loads `source` into mit.build's encoder of the variant `name` ("b0" to "b5").

    source: "none"; "ade20k" or "cityscapes", for keras-hub's encoder of that name, downloaded once
    (extra `pretrained`); or a .weights.h5 file made by kseg.import_weights. Raises InputError.
    """
    if source == "none":
        return
    if source in DATA_SETS:
        fill(encoder, from_keras_hub(_download(source, name)), f"keras-hub's mit_{name}, {source}")
    elif source == "imagenet":
        raise InputError(
            "encoder_weights 'imagenet': MiT's are published by Hugging Face (nvidia/mit-b0 to b5):"
            " download the folder and import it with python -m kseg.import_weights hf FOLDER; or "
            "give ade20k or cityscapes (ImageNet's, fine-tuned, from keras-hub)"
        )
    elif not Path(source).is_file():
        raise InputError(
            f"{source}: no such encoder weights; give none, ade20k, cityscapes or a .weights.h5 "
            "file made by python -m kseg.import_weights"
        )
    else:
        weight_files.load(encoder, source, f"the encoder MiT-{name.upper()}")


def fill(model, values, where):
    """Copies `values`, {weight path: array}, into a model: all of them, into all of its weights.

    Raises InputError, naming `where`, before anything is changed.
    """
    wanted = {weight.path: weight for weight in model.weights}
    missing, extra = sorted(wanted.keys() - values), sorted(values.keys() - wanted)
    if missing or extra:
        problem = f"has nothing for {missing[0]}" if missing else f"has {extra[0]}, unknown here"
        raise InputError(
            f"{where}: {problem} ({len(missing)} missing, {len(extra)} too many); it is of another "
            "architecture"
        )
    for path, weight in wanted.items():
        if values[path].shape != tuple(weight.shape):
            raise InputError(
                f"{where}: {path} is {values[path].shape}, expected {tuple(weight.shape)}"
            )
    for path, weight in wanted.items():
        weight.assign(values[path])


def from_hugging_face(tensors, depths, where):
    """Returns ({encoder weight path: array}, {head weight path: array}) of a PyTorch state dict.

    tensors: {name: array} of a SegformerModel or one with a head on it, with the names of the
    published files; the head is empty where there is none. Left out are num_batches_tracked (a
    counter of batch norm) and the 1000-way ImageNet classifier of nvidia/mit-b*.
    Raises InputError, naming `where`, on a tensor that no SegFormer has.
    """
    layers = dict(_hugging_face_layers(depths))
    encoder, head = {}, {}
    for name, tensor in tensors.items():
        module, _, kind = name.removeprefix("segformer.").rpartition(".")
        if module == "classifier" or kind == "num_batches_tracked":
            continue
        ours = layers.get(module)
        if ours is None:
            raise InputError(f"{where}: holds {name}, which no SegFormer of {depths} blocks has")
        part = head if module.startswith("decode_head") else encoder
        path, value = _keras_weight(ours, kind, np.asarray(tensor, np.float32))
        part[path] = value
    return encoder, head


def _hugging_face_layers(depths):
    """Yields (their module, our layer)."""
    for stage, depth in enumerate(depths):
        ours = f"stage{stage + 1}"
        yield f"encoder.patch_embeddings.{stage}.proj", f"{ours}_embed"
        yield f"encoder.patch_embeddings.{stage}.layer_norm", f"{ours}_embed_norm"
        for block in range(depth):
            for part, theirs, _ in _PARTS:
                yield f"encoder.block.{stage}.{block}.{theirs}", f"{ours}_block{block + 1}_{part}"
        yield f"encoder.layer_norm.{stage}", f"{ours}_norm"
        yield f"decode_head.linear_c.{stage}.proj", f"head/project{4 * 2**stage}"
    yield "decode_head.linear_fuse", "head/fuse"
    yield "decode_head.batch_norm", "head_bn"
    yield "decode_head.classifier", "logits_conv"


def _keras_weight(layer, kind, tensor):
    """PyTorch's name and axes -> ours: (out, in, h, w) -> (h, w, in, out)."""
    if layer.endswith(("norm", "norm1", "norm2", "_bn")):
        return f"{layer}/{_NORM_WEIGHTS.get(kind, kind)}", tensor
    if kind == "bias":
        return f"{layer}/bias", tensor
    if tensor.ndim == 2:  # A linear layer, here a 1x1 convolution.
        tensor = tensor[:, :, None, None]
    depthwise = layer.endswith("depthwise")  # (channels, 1, h, w), and Keras wants the 1 last.
    return f"{layer}/kernel", tensor.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))


def from_keras_hub(backbone):
    """Returns {encoder weight path: array} of a keras_hub.models.MiTBackbone."""
    values = {}
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


def block_from_keras_hub(block, name):
    """Returns {weight path: array} of one HierarchicalTransformerEncoder (keras-cv's has the same
    parts)."""
    values = {}
    for ours, _, theirs in _PARTS:
        outer, _, inner = theirs.rpartition(".")
        layer = getattr(getattr(block, outer) if outer else block, inner, None)
        if layer is not None:  # Only where keys are reduced are there sr and its norm.
            values |= _layer_weights(f"{name}_{ours}", layer)
    return values


def head_from_keras_hub(segmenter):
    """Returns {head weight path: array} of a keras_hub.models.SegFormerImageSegmenter."""
    values = {}
    for stage, project in enumerate(segmenter.backbone.mlp_blocks):
        values |= _layer_weights(f"head/project{4 * 2**stage}", project)
    conv, bn, _ = segmenter.backbone.linear_fuse.layers
    values |= _layer_weights("head/fuse", conv) | _layer_weights("head_bn", bn)
    return values | _layer_weights("logits_conv", segmenter.output_segmentation_head)


def _layer_weights(name, layer):
    """{weight path: array} of a Keras layer; a Dense kernel becomes a 1x1 convolution's."""
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
            f"encoder_weights '{source}': needs keras-hub, of the extra `pretrained`: "
            "./scripts/install pretrained"
        ) from error
    presets = keras_hub.models.MiTBackbone.presets
    preset = next(p for p in presets if p.startswith(f"mit_{name}_{source}"))
    try:
        return keras_hub.models.MiTBackbone.from_preset(preset)
    except Exception as error:  # kagglehub raises what its many layers raise.
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"keras-hub's preset {preset} could not be downloaded ({reason}); give a local file "
            "with --encoder-weights FILE or train from scratch with --encoder-weights none"
        ) from error
