"""Published weights: other libraries' networks equal ours, and files are imported completely."""

import json
from functools import partial

import keras
import numpy as np
import pytest

from kseg import import_weights, models, trained_model
from kseg.errors import InputError
from kseg.labels import CITYSCAPES_19
from kseg.models.encoders import mit
from kseg.models.encoders.preprocessing import normalize_imagenet
from kseg.models.pretrained import segformer_weights, weight_files
from kseg.models.segformer import segformer
from tests import segformer_reference
from tests.conftest import assert_one_line, command, randomize

TINY = mit.Variant((8, 16, 20, 32), (1, 2, 1, 1), decoder_channels=16, heads=(1, 2, 5, 8))
NO_HUB = "the extra `pretrained` is not installed"
NO_TORCH = "torch and transformers, Hugging Face's own SegFormer, are not installed"


def images(size):
    return np.random.default_rng(1).uniform(0, 255, (2, *size, 3)).astype(np.float32)


def difference(got, expected):
    """The largest difference, relative to the largest expected value."""
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape and expected.std() > 0
    return np.abs(got - expected).max() / np.abs(expected).max()


def ours(size, classes=5):
    encoder = mit.build(size, TINY)
    return encoder, segformer(encoder, size, classes, channels=TINY.decoder_channels)


def perturb(model, layer):
    """Adds a thousandth of its range to one number of a layer's first weight."""
    weight = next(w for w in model.weights if w.path.startswith(f"{layer}/"))
    values = weight.numpy()
    values.flat[0] += 0.1 * np.abs(values).max()
    weight.assign(values)


# keras-hub


@pytest.fixture(scope="module")
def hub():
    """keras-hub's SegFormer with random weights; it crashes unless the size is square."""
    keras_hub = pytest.importorskip("keras_hub", reason=NO_HUB)
    backbone = keras_hub.models.MiTBackbone(
        image_shape=(64, 64, 3),
        num_layers=4,
        hidden_dims=list(TINY.channels),
        layerwise_depths=list(TINY.depths),
        layerwise_num_heads=list(TINY.heads),
        layerwise_sr_ratios=list(TINY.reductions),
        layerwise_patch_sizes=[7, 3, 3, 3],
        layerwise_strides=[4, 2, 2, 2],
        max_drop_path_rate=0.1,
    )
    segmenter = keras_hub.models.SegFormerImageSegmenter(
        keras_hub.models.SegFormerBackbone(backbone, TINY.decoder_channels), num_classes=5
    )
    randomize(segmenter, seed=0)
    return backbone, segmenter


@pytest.fixture
def erf_gelu(monkeypatch):
    """Makes keras-hub and keras-cv use the GELU that the weights were trained with."""
    monkeypatch.setattr(keras.ops.nn, "gelu", partial(keras.ops.gelu, approximate=False))


def with_weights_of_hub(hub):
    backbone, segmenter = hub
    encoder, model = ours((64, 64))
    values = segformer_weights.from_keras_hub(backbone) | head_from_keras_hub(segmenter)
    weight_files.assign(model, values, "keras-hub")
    return encoder, model


def head_from_keras_hub(segmenter):
    """Returns {head weight path: array} of a keras_hub.models.SegFormerImageSegmenter."""
    values = {}
    for stage, project in enumerate(segmenter.backbone.mlp_blocks):
        values |= weights_of(project, f"head/project{4 * 2**stage}")
    conv, norm, _ = segmenter.backbone.linear_fuse.layers
    values |= weights_of(conv, "head/fuse") | weights_of(norm, "head_bn")
    return values | weights_of(segmenter.output_segmentation_head, "logits_conv")


def weights_of(layer, name):
    """{weight path: array}; the kernel of a Dense layer becomes that of a 1x1 convolution."""
    arrays = {f"{name}/{weight.name}": weight.numpy() for weight in layer.weights}
    return {
        path: array[None, None] if path.endswith("kernel") and array.ndim == 2 else array
        for path, array in arrays.items()
    }


def hub_differences(hub, encoder, model):
    """Differences of the four stages and of the logits."""
    backbone, segmenter = hub
    image = images((64, 64))
    normalized = normalize_imagenet(image)  # keras-hub does it outside the model.
    pyramid = keras.Model(backbone.inputs, backbone.pyramid_outputs)(normalized)
    features = encoder(image)
    stages = [difference(features[4 * 2**i], pyramid[f"P{i + 1}"]) for i in range(4)]
    # By default their batch norm would be in training mode, as kseg.models.resize.Resize explains.
    return [*stages, difference(model(image), segmenter(normalized, training=False))]


def test_segformer_equals_that_of_keras_hub(hub, erf_gelu):
    assert max(hub_differences(hub, *with_weights_of_hub(hub))) < 1e-4


def test_keras_hub_uses_the_tanh_gelu(hub):
    # The weights were trained with erf. The difference is small, but more than rounding.
    assert 1e-5 < max(hub_differences(hub, *with_weights_of_hub(hub))) < 5e-3


@pytest.mark.parametrize("layer", ["stage1_embed", "stage4_block1_attention_key", "head/project32"])
def test_one_wrong_number_differs_from_keras_hub(hub, erf_gelu, layer):
    encoder, model = with_weights_of_hub(hub)
    perturb(model, layer)
    assert max(hub_differences(hub, encoder, model)) > 1e-4


@pytest.mark.parametrize("source", segformer_weights.DATA_SETS)
def test_keras_hub_has_a_preset_for_every_variant(hub, source, monkeypatch):
    import keras_hub

    presets = []
    monkeypatch.setattr(keras_hub.models.MiTBackbone, "from_preset", presets.append)
    for name in mit.VARIANTS:
        segformer_weights._download(source, name)
    assert [preset[:6] for preset in presets] == [f"mit_b{n}" for n in range(6)]
    assert all(source in preset for preset in presets)


def test_an_encoder_gets_the_weights_of_keras_hub(hub, monkeypatch):
    import keras_hub

    backbone = hub[0]
    monkeypatch.setattr(keras_hub.models.MiTBackbone, "from_preset", lambda preset: backbone)
    encoder = mit.build((33, 65), TINY)
    segformer_weights.load_encoder(encoder, "ade20k", "b0")
    expected = backbone.get_layer("patch_and_embed_0").proj.kernel.numpy()
    assert np.array_equal(encoder.get_layer("stage1_embed").kernel.numpy(), expected)


def test_a_failed_download_names_the_preset_and_the_reason(hub, monkeypatch):
    import keras_hub

    def offline(preset):
        raise ConnectionError("no route to host\nand much more")

    monkeypatch.setattr(keras_hub.models.MiTBackbone, "from_preset", offline)
    with pytest.raises(InputError, match=r"mit_b0_cityscapes_1024 .*no route to host\)"):
        models.build("segformer_b0", (64, 96), 3, encoder_weights="cityscapes")


def test_without_keras_hub_the_extra_is_named(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(InputError, match=r"keras-hub.*`pretrained`"):
        models.build("segformer_b0", (64, 96), 3, encoder_weights="ade20k")


def test_imagenet_weights_are_refused_with_where_to_get_them():
    with pytest.raises(InputError, match=r"'imagenet'.*nvidia/mit-b0.*kseg.import_weights hf"):
        models.build("segformer_b0", (64, 96), 3, encoder_weights="imagenet")


# keras-cv


def test_a_block_equals_that_of_keras_cv(erf_gelu):
    """In a stage that does not reduce keys; in others, keras-cv reorders its tokens."""
    keras_cv = pytest.importorskip("keras_cv", reason="keras-cv is not installed")
    block = keras_cv.layers.HierarchicalTransformerEncoder(project_dim=32, num_heads=8, sr_ratio=1)
    image = np.random.default_rng(2).normal(size=(2, 6, 6, 32)).astype(np.float32)
    block(image.reshape(2, 36, 32))
    randomize(block, seed=0)
    encoder = mit.build((64, 64), TINY)
    block_input = encoder.get_layer("stage4_embed_norm").output
    assert block_input.shape[1:] == (2, 2, 32)
    larger = mit.build((192, 192), TINY)
    one = keras.Model(
        larger.get_layer("stage4_embed_norm").output, larger.get_layer("stage4_block1_add2").output
    )
    weight_files.assign(
        one, segformer_weights.block_from_keras_hub(block, "stage4_block1"), "keras-cv"
    )
    expected = np.asarray(block(image.reshape(2, 36, 32))).reshape(2, 6, 6, 32)
    assert difference(one(image), expected) < 1e-4
    perturb(one, "stage4_block1_ffn_expand")
    assert difference(one(image), expected) > 1e-4


# Hugging Face


# Modules in the file of nvidia/segformer-b0-finetuned-ade-512-512, by the names of our layers.
THEIR_BLOCK = {
    "norm1": "layer_norm_1",
    "attention_query": "attention.self.query",
    "attention_key": "attention.self.key",
    "attention_value": "attention.self.value",
    "attention_reduce": "attention.self.sr",
    "attention_reduce_norm": "attention.self.layer_norm",
    "attention_project": "attention.output.dense",
    "norm2": "layer_norm_2",
    "ffn_expand": "mlp.dense1",
    "ffn_depthwise": "mlp.dwconv.dwconv",
    "ffn_project": "mlp.dense2",
}
THEIR_HEAD = {
    "head/project4": "decode_head.linear_c.0.proj",
    "head/project8": "decode_head.linear_c.1.proj",
    "head/project16": "decode_head.linear_c.2.proj",
    "head/project32": "decode_head.linear_c.3.proj",
    "head/fuse": "decode_head.linear_fuse",
    "head_bn": "decode_head.batch_norm",
    "logits_conv": "decode_head.classifier",
}
THEIR_STAGE = {
    "embed": "patch_embeddings.{}.proj",
    "embed_norm": "patch_embeddings.{}.layer_norm",
    "norm": "layer_norm.{}",
}
THEIR_WEIGHT = {
    "gamma": "weight",
    "beta": "bias",
    "kernel": "weight",
    "bias": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
LINEAR = ("query", "key", "value", "project", "expand", "4", "8", "16", "32")


def their_module(layer):
    if layer in THEIR_HEAD:
        return THEIR_HEAD[layer]
    stage, _, name = layer.removeprefix("stage").partition("_")
    if name in THEIR_STAGE:
        return "segformer.encoder." + THEIR_STAGE[name].format(int(stage) - 1)
    block, _, name = name.removeprefix("block").partition("_")
    return f"segformer.encoder.block.{int(stage) - 1}.{int(block) - 1}.{THEIR_BLOCK[name]}"


def state_dict(model):
    """Returns {name: array} of our model, with the names and axes of Hugging Face's files."""
    tensors = {"decode_head.batch_norm.num_batches_tracked": np.zeros((), np.int64)}
    for weight in model.weights:
        layer, _, kind = weight.path.rpartition("/")
        value = weight.numpy()
        if kind == "kernel":
            value = value.transpose((2, 3, 0, 1) if layer.endswith("depthwise") else (3, 2, 0, 1))
            value = value[:, :, 0, 0] if layer.endswith(LINEAR) else value
        name = f"{their_module(layer)}.{THEIR_WEIGHT[kind]}"
        tensors[name] = np.ascontiguousarray(value)
    return tensors


CONFIG = {
    "model_type": "segformer",
    "hidden_sizes": [32, 64, 160, 256],
    "depths": [2, 2, 2, 2],
    "num_attention_heads": [1, 2, 5, 8],
    "sr_ratios": [8, 4, 2, 1],
    "decoder_hidden_size": 16,
    "id2label": {"0": "road", "1": "tree", "2": "sky"},
}


@pytest.fixture(scope="module")
def model():
    """Our SegFormer-B0 with random weights."""
    model = models.build("segformer_b0", (64, 97), 3, decoder_channels=16)
    randomize(model, seed=0)
    return model


@pytest.fixture
def folder(tmp_path, model):
    """The same model as a folder from Hugging Face, which tests may corrupt."""
    pytest.importorskip("safetensors", reason="the extra `test` is not installed")
    return write_folder(tmp_path / "their-segformer", state_dict(model))


def write_folder(folder, tensors, **changes):
    from safetensors.numpy import save_file

    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG | changes))
    save_file(tensors, folder / "model.safetensors")
    return folder


def test_an_imported_encoder_initialises_a_model(folder, model, tmp_path):
    out = tmp_path / "mit.weights.h5"
    assert command(import_weights.main, ["hf", folder, "--out", out]) == 0
    started = models.build("segformer_b0", (33, 65), 7, encoder_weights=str(out))
    for layer in model.layers:
        if layer.name.startswith("stage"):
            for got, expected in zip(
                started.get_layer(layer.name).get_weights(), layer.get_weights(), strict=True
            ):
                assert np.array_equal(got, expected)
    assert not list(tmp_path.glob("partial*"))
    with pytest.raises(InputError, match=r"mit.weights.h5: .*MiT-B1"):
        models.build("segformer_b1", (33, 65), 7, encoder_weights=str(out))


def test_a_complete_model_becomes_a_run(folder, model, tmp_path):
    run = tmp_path / "run"
    words = ["hf", folder, "--run", run, "--size", 64, 97]
    assert command(import_weights.main, words) == 0
    loaded, config, labels = trained_model.load(run)
    assert (config.model, config.size, config.decoder_channels) == ("segformer_b0", (64, 97), 16)
    assert labels.names == ["road", "tree", "sky"] and labels.drivable_ids == [0]
    assert len(set(labels.palette)) == 3
    image = images((64, 97))
    assert difference(loaded(image), model(image)) < 1e-6


def test_cityscapes_classes_become_our_own_label_set(tmp_path):
    names = {"id2label": {str(i): name for i, name in enumerate(CITYSCAPES_19.names)}}
    assert import_weights.label_set(tmp_path, names) == CITYSCAPES_19
    swapped = {"id2label": names["id2label"] | {"0": "sidewalk", "1": "road"}}
    assert import_weights.label_set(tmp_path, swapped).drivable_ids == [1]


def test_an_encoder_alone_can_be_imported_but_not_as_a_run(folder, model, tmp_path, capsys):
    # nvidia/mit-b* has an ImageNet classifier on the encoder.
    tensors = {k: v for k, v in state_dict(model).items() if not k.startswith("decode_head")}
    tensors |= {"classifier.weight": np.zeros((1000, 256)), "classifier.bias": np.zeros(1000)}
    write_folder(folder, tensors)
    assert command(import_weights.main, ["hf", folder, "--out", tmp_path / "a.weights.h5"]) == 0
    assert command(import_weights.main, ["hf", folder, "--run", tmp_path / "run"]) == 2
    assert_one_line(capsys, folder, "head", "--run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("corrupt", "word"),
    [
        (lambda t: t.pop("segformer.encoder.layer_norm.2.bias"), "stage3_norm/beta (1 missing"),
        (lambda t: t.update({"segformer.encoder.block.0.2.norm": np.zeros(3)}), "block.0.2.norm"),
        (
            lambda t: t.update({"segformer.encoder.layer_norm.2.scale": np.zeros(3)}),
            "stage3_norm/scale (0 missing, 1 unknown)",
        ),
        (
            lambda t: t.update({"segformer.encoder.layer_norm.2.bias": np.zeros(9)}),
            "stage3_norm/beta is (9,)",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(
    folder, model, tmp_path, capsys, corrupt, word
):
    tensors = state_dict(model)
    corrupt(tensors)
    write_folder(folder, tensors)
    out = tmp_path / "mit.weights.h5"
    assert command(import_weights.main, ["hf", folder, "--out", out]) == 2
    assert_one_line(capsys, folder, word)
    assert not out.exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "vit"}, ["model_type", "vit"]),
        # The number of heads changes no weight's shape.
        ({"num_attention_heads": [1, 2, 4, 8]}, ["num_attention_heads", "[1, 2, 4, 8]"]),
        ({"depths": [2, 2, 2, 3]}, ["depths", "[2, 2, 2, 3]"]),
    ],
)
def test_configs_of_other_networks_are_refused(folder, capsys, changes, words):
    (folder / "config.json").write_text(json.dumps(CONFIG | changes))
    assert command(import_weights.main, ["hf", folder]) == 2
    assert_one_line(capsys, "config.json", *words)


def test_a_folder_without_weights_is_one_line(folder, tmp_path, capsys):
    (folder / "model.safetensors").write_bytes(b"\x08" + bytes(15))
    assert command(import_weights.main, ["hf", folder]) == 2
    assert_one_line(capsys, folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    assert command(import_weights.main, ["hf", folder]) == 2
    assert_one_line(capsys, folder, "model.safetensors", "pytorch_model.bin")
    assert command(import_weights.main, ["hf", tmp_path / "nowhere"]) == 2
    assert_one_line(capsys, "nowhere/config.json")
    assert command(import_weights.main, ["hf", folder, "--out", "a.weights.h5", "--run", "b"]) == 2
    assert_one_line(capsys, "--out", "--run")
    assert command(import_weights.main, ["hf", folder, "--size", 64, 96]) == 2
    assert_one_line(capsys, "--size", "--run")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """Hugging Face's own B0 with random weights and 5 classes, and its folder."""
    torch = pytest.importorskip("torch", reason=NO_TORCH)
    transformers = pytest.importorskip("transformers", reason=NO_TORCH)
    torch.manual_seed(0)
    model = transformers.SegformerForSemanticSegmentation(
        transformers.SegformerConfig(num_labels=5, decoder_hidden_size=32)
    ).eval()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                scale = 0.3 if tensor.ndim < 2 else tensor[0].numel() ** -0.5
                tensor.normal_(0, scale)
                if name.endswith("running_var") or ("norm" in name and name.endswith("weight")):
                    tensor.abs_().add_(0.5)
    folder = tmp_path_factory.mktemp("hf") / "segformer"
    model.save_pretrained(folder)
    return model, folder


def their_outputs(theirs, size):
    import torch

    normalized = np.asarray(normalize_imagenet(images(size))).transpose(0, 3, 1, 2)
    with torch.no_grad():
        outputs = theirs[0](torch.from_numpy(normalized.copy()), output_hidden_states=True)
    maps = [*outputs.hidden_states, outputs.logits]
    return [m.numpy().transpose(0, 2, 3, 1) for m in maps]


def our_outputs(theirs, size, layer=None):
    document = import_weights.read_config(theirs[1])
    encoder, head = import_weights.read_weights(theirs[1], document)
    model = models.build("segformer_b0", size, 5, decoder_channels=32)
    weight_files.assign(model, encoder | head, str(theirs[1]))
    if layer:
        perturb(model, layer)
    names = [f"stage{i}_norm" for i in range(1, 5)] + ["logits_conv"]
    return keras.Model(model.input, [model.get_layer(name).output for name in names])(images(size))


@pytest.mark.parametrize("size", [(64, 64), (97, 161)])
def test_segformer_equals_that_of_hugging_face(theirs, size):
    pairs = zip(our_outputs(theirs, size), their_outputs(theirs, size), strict=True)
    assert max(difference(got, expected) for got, expected in pairs) < 1e-4


@pytest.mark.parametrize("layer", ["stage2_block1_attention_reduce", "head/fuse"])
def test_one_wrong_number_differs_from_hugging_face(theirs, layer):
    got, expected = our_outputs(theirs, (64, 64), layer), their_outputs(theirs, (64, 64))
    assert max(difference(g, e) for g, e in zip(got, expected, strict=True)) > 1e-4


# The same without PyTorch: numbers that transformers computed once.


@pytest.fixture(scope="module", params=segformer_reference.SIZES)
def of_reference(request):
    """(our model with the reference's weights, its outputs, the expected numbers of each)."""
    size, variant = request.param, segformer_reference.VARIANT
    tensors = {
        name: segformer_reference.weight(name, shape)
        for name, shape in segformer_reference.read()["tensors"].items()
    }
    encoder, head = segformer_weights.from_hugging_face(tensors, variant["depths"], "reference")
    model = ours(size, segformer_reference.CLASSES)[1]
    weight_files.assign(model, encoder | head, "reference")
    names = [f"stage{i}_norm" for i in range(1, 5)] + ["logits_conv"]
    outputs = keras.Model(model.input, [model.get_layer(name).output for name in names])
    return model, outputs, segformer_reference.read()["outputs"]["x".join(map(str, size))]


def largest_difference(outputs, expected):
    """The largest difference at the reference's places, relative to each output's largest value."""
    size, differences = outputs.input_shape[1:3], []
    for got, numbers in zip(outputs(segformer_reference.image(size)), expected, strict=True):
        assert list(got.shape) == numbers["shape"]
        samples = segformer_reference.sample(got) - np.array(numbers["samples"])
        differences.append(np.abs(samples).max() / numbers["largest"])
    return max(differences)


def test_segformer_gives_the_numbers_of_hugging_face(of_reference):
    _, outputs, expected = of_reference
    assert largest_difference(outputs, expected) < 1e-4


@pytest.mark.parametrize("layer", ["stage2_block1_attention_reduce", "head/project32"])
def test_one_wrong_number_gives_others(of_reference, layer):
    model, outputs, expected = of_reference
    before = model.get_weights()
    perturb(model, layer)
    difference = largest_difference(outputs, expected)
    model.set_weights(before)
    assert difference > 1e-4


def test_a_pickle_of_torch_can_be_read(theirs, tmp_path):
    import torch

    folder = tmp_path / "pickled"
    folder.mkdir()
    torch.save(theirs[0].state_dict(), folder / "pytorch_model.bin")
    tensors = import_weights.read_tensors(folder)
    assert tensors["decode_head.classifier.bias"].shape == (5,)
    (folder / "pytorch_model.bin").write_bytes(b"no pickle")
    with pytest.raises(InputError, match=r"pytorch_model.bin: "):
        import_weights.read_tensors(folder)
