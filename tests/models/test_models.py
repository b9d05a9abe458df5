import keras
import numpy as np
import pytest
from keras import ops

from kseg import model_names, models
from kseg.errors import InputError
from kseg.models import blocks, cost
from kseg.models.encoders import mit, mobilenet_v2
from kseg.models.segformer import ProjectAndFuse
from tests.conftest import randomize

DEEPLAB, SEGFORMER = "deeplab_v3_plus_mobilenet_v2", "segformer_b0"
# Every family, and every encoder whose sizes differ by more than a table.
FAMILIES = [
    "unet",
    "unet_efficientnet_v2_b0",
    "fcn_resnet50",
    "unet_mobilenet_v3_small",
    "pspnet_resnet50",
    DEEPLAB,
    "deeplab_v3_plus_mobilenet_v3_large",
    "deeplab_v3_plus_mobilenet_edge",
    SEGFORMER,
    "segformer_b0_edge",
]


@pytest.mark.parametrize("name", [DEEPLAB, SEGFORMER])
def test_keras_can_save_and_load_a_model(name, tmp_path):
    model = models.build(name, (64, 97), 3, encoder_alpha=0.35, decoder_channels=16)
    randomize(model, seed=4)
    model.save(tmp_path / "model.keras")
    image = np.random.default_rng(0).uniform(0, 255, (1, 64, 97, 3)).astype(np.float32)
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert np.array_equal(loaded(image), model(image))


def test_every_model_name_has_a_builder():
    assert tuple(models.MODELS) == model_names.MODELS
    assert set(FAMILIES) < set(models.MODELS)


def test_an_unknown_model_is_refused_with_the_nearest_name():
    with pytest.raises(InputError, match=r"unet_resnet'.*unet_resnet50"):
        models.build("unet_resnet", (64, 96), 3)


RESNET50 = 23_587_712  # keras.applications.ResNet50 without top.
# torchvision publishes 35,322,218 for fcn_resnet50 with 21 classes, with the auxiliary head, which
# has 1024 * 256 * 9 + 2 * 256 + 256 * 21 + 21. Keras' ResNet-50 has 26,560 biases before its norms.
# Keras also counts moving averages: 53,120 in the encoder, 2 * 512 in the head.
FCN = 35_322_218 - (1024 * 256 * 9 + 2 * 256 + 256 * 21 + 21) + 26_560 + 53_120 + 2 * 512
# segmentation_models.pytorch has 32,521,105 for 1 class, with a 3x3 classifier of 145; ours is 1x1.
# The rest is as above, with 2 moving averages for each channel of the two norms of a level.
UNET_RESNET50 = 32_521_105 - 145 + (16 + 1) + 26_560 + 53_120 + 2 * 2 * (256 + 128 + 64 + 32 + 16)
# By hand: four 1x1 convolutions to 512, one 3x3 on 2048 + 4 * 512 channels, norms, the classifier.
PSPNET = RESNET50 + 4 * (2048 * 512 + 4 * 512) + 4096 * 512 * 9 + 4 * 512 + 512 * 3 + 3
# By hand: ASPP (1x1, image, three separable, project), detail, two separable ones, the classifier.
DEEPLAB_RESNET50 = (
    RESNET50
    + 2 * (2048 * 256 + 4 * 256)
    + 3 * (2048 * 9 + 4 * 2048 + 2048 * 256 + 4 * 256)
    + (5 * 256 * 256 + 4 * 256)
    + (256 * 48 + 4 * 48)
    + (304 * 9 + 4 * 304 + 304 * 256 + 4 * 256)
    + (256 * 9 + 4 * 256 + 256 * 256 + 4 * 256)
    + (256 * 3 + 3)
)


@pytest.mark.parametrize(
    ("name", "classes", "options", "expected"),
    [
        # 31,037,698: the usual PyTorch U-Net (milesial/Pytorch-UNet, transposed convolutions, 3
        # input channels, 2 classes). Its norms have 2 moving averages for each of 5,888 channels.
        ("unet", 2, {}, 31_037_698 + 2 * 5_888),
        ("unet_resnet50", 1, {"output_stride": 32}, UNET_RESNET50),
        ("fcn_resnet50", 21, {}, FCN),
        ("pspnet_resnet50", 3, {}, PSPNET),
        ("deeplab_v3_plus_resnet50", 3, {}, DEEPLAB_RESNET50),
        (DEEPLAB, 3, {"encoder_alpha": 0.35, "output_stride": 8}, 899_235),
        # 0.34 M: the demo model of the README.
        (DEEPLAB, 3, {"encoder_alpha": 0.35, "decoder_channels": 64}, 340_707),
        # Table 1 of the paper has 3.7, 13.7, 27.4, 47.2, 64.0 and 84.6 M, for 19 or 150 classes.
        # The published B0 checkpoint for 150 has 3,752,694; the others are computed by hand. Keras
        # also counts the moving averages of the head's norm.
        ("segformer_b0", 150, {}, 3_752_694 + 2 * 256),
        ("segformer_b0", 19, {}, 3_719_027 + 2 * 256),
        ("segformer_b1", 150, {}, 13_715_798 + 2 * 256),
        ("segformer_b2", 150, {}, 27_461_974 + 2 * 768),
        ("segformer_b3", 150, {}, 47_337_814 + 2 * 768),
        ("segformer_b4", 150, {}, 64_108_374 + 2 * 768),
        ("segformer_b5", 150, {}, 84_708_694 + 2 * 768),
    ],
)
def test_parameter_counts(name, classes, options, expected):
    assert models.build(name, (32, 64), classes, **options).count_params() == expected


@pytest.mark.parametrize("size", [(7, 11), (4, 5), (12, 18), (23, 40)])
@pytest.mark.parametrize("bins", [1, 2, 3, 6])
def test_adaptive_pooling_at_any_size(bins, size):
    x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)
    got = keras.ops.convert_to_numpy(blocks.adaptive_average_pool(x, bins, name="pool"))
    rows, columns = (
        [slice(i * n // bins, -((i + 1) * n // -bins)) for i in range(bins)] for n in size
    )
    expected = np.array([[x[:, r, c].mean((1, 2)) for c in columns] for r in rows])
    assert got == pytest.approx(expected.transpose(2, 0, 1, 3), abs=1e-6)


def test_real_pretrained_weights_load(shared_data):
    path = shared_data / "weights" / "mobilenet_v2_0.35_notop.weights.h5"
    model = models.build(DEEPLAB, (64, 96), 3, encoder_alpha=0.35, encoder_weights=str(path))
    # The norms of trained filters differ by far more than those of random ones.
    norms = np.linalg.norm(model.get_layer("Conv1").get_weights()[0].reshape(27, -1), axis=0)
    assert norms.max() > 3 * norms.min()


def test_encoder_weights_of_another_width_are_refused(tmp_path):
    other = keras.applications.MobileNetV2(
        input_shape=(32, 32, 3), alpha=0.5, include_top=False, weights=None
    )
    path = str(tmp_path / "half.weights.h5")
    other.save_weights(path)
    with pytest.raises(InputError, match=r"half.weights.h5: .*alpha 0.35"):
        models.build(DEEPLAB, (64, 96), 3, encoder_alpha=0.35, encoder_weights=path)


def test_weights_of_another_encoder_are_refused(tmp_path):
    path = str(tmp_path / "mobile.weights.h5")
    mobilenet_v2.build((32, 32), alpha=0.35).save_weights(path)
    with pytest.raises(InputError, match=r"mobile.weights.h5: .*ResNet50"):
        models.build("fcn_resnet50", (64, 96), 3, encoder_weights=path)


def test_an_alpha_without_imagenet_weights_is_refused():
    with pytest.raises(InputError, match=r"encoder_alpha 0.4: .* 0.35, 0.5"):
        models.build(DEEPLAB, (64, 96), 3, encoder_alpha=0.4, encoder_weights="imagenet")


def test_unet_has_no_encoder_to_freeze():
    with pytest.raises(InputError, match=r"freeze_encoder True.*--no-freeze-encoder"):
        models.build("unet", (64, 96), 3, freeze_encoder=True)


@pytest.mark.parametrize(
    "name",
    [
        *("unet", DEEPLAB, SEGFORMER, "segformer_b0_edge", "fcn_resnet50"),
        *("unet_mobilenet_v3_small", "unet_efficientnet_v2_b0"),
    ],
)
def test_a_missing_weights_file_is_refused(name):
    with pytest.raises(InputError, match=r"nowhere\.h5"):
        models.build(name, (64, 96), 3, encoder_weights="nowhere.h5")


@pytest.mark.parametrize(
    ("name", "head", "encoder"),
    [
        ("fcn_resnet50", "head_conv", "conv5_block3_2_conv"),
        ("unet_efficientnet_v2_b0", "up8_1_conv", "block4a_se_reduce"),
        ("unet_mobilenet_v3_small", "up4_2_conv", "expanded_conv_squeeze_excite_conv"),
        ("pspnet_resnet50", "pyramid6_conv", "conv1_bn"),
        (DEEPLAB, "aspp_project_conv", "block_3_expand"),
        ("deeplab_v3_plus_resnet50", "aspp_project_conv", "conv2_block1_0_conv"),
        (SEGFORMER, "head", "stage2_block1_ffn_expand"),
    ],
)
def test_frozen_encoder_leaves_the_head_to_train(name, head, encoder):
    model = models.build(name, (64, 96), 3, encoder_alpha=0.35, freeze_encoder=True)
    trained = {v.path.split("/")[0] for v in model.trainable_variables}
    assert head in trained and encoder not in trained
    assert model.get_layer(encoder).weights
    # All trainable layers come after the encoder.
    assert all(
        n.startswith(("head", "up", "pyramid", "aspp", "detail", "decoder", "logits"))
        for n in trained
    )


def test_the_head_of_segformer_has_the_outputs_and_gradients_of_the_papers_steps():
    shapes = {32: (3, 5, 7), 16: (5, 9, 6), 8: (9, 17, 5), 4: (17, 33, 4)}
    features = [keras.random.normal((2, *shape), seed=stride) for stride, shape in shapes.items()]
    head = ProjectAndFuse(8, list(shapes))
    head(features)
    for number, weight in enumerate(head.weights):
        weight.assign(keras.random.normal(weight.shape, seed=number))

    def paper(features):
        projected = [p(x) for p, x in zip(head.projections, features, strict=True)]
        resized = [ops.image.resize(x, shapes[4][:2]) for x in projected]
        return head.fusion(ops.concatenate(resized, axis=-1))

    (ours, our_gradients), (expected, gradients) = (
        value_and_gradients(lambda f=f: f(features), head.weights) for f in (head, paper)
    )
    assert np.allclose(ours, expected, rtol=1e-4, atol=1e-4)
    for got, wanted in zip(our_gradients, gradients, strict=True):
        assert np.abs(got - wanted).max() < 1e-4 * np.abs(wanted).max()


def value_and_gradients(function, weights):
    """Returns the function's output and the gradients of its mean square; TensorFlow or JAX."""
    if keras.backend.backend() == "jax":
        import jax

        def loss(values):
            with keras.StatelessScope(state_mapping=list(zip(weights, values, strict=True))):
                return ops.mean(ops.square(function()))

        gradients = jax.grad(loss)([w.value for w in weights])
        return np.asarray(function()), [np.asarray(g) for g in gradients]
    import tensorflow as tf

    with tf.GradientTape() as tape:
        value = function()
        loss = ops.mean(ops.square(value))
    gradients = tape.gradient(loss, [w.value for w in weights])
    return value.numpy(), [g.numpy() for g in gradients]


def test_attention_by_hand():
    # One head, two queries, each matching one key; softmax of (s, 0) with s = 2 / sqrt(1).
    query = np.array([[[[2.0], [-2.0]]]], np.float32)
    key = np.array([[[[1.0], [0.0]]]], np.float32)
    value = np.array([[[[10.0], [20.0]]]], np.float32)
    got = mit.DotProductAttention()([query, key, value]).numpy().ravel()
    weight = 1 / (1 + np.exp(-2.0))
    assert got == pytest.approx([10 * weight + 20 * (1 - weight), 10 * (1 - weight) + 20 * weight])


def test_stochastic_depth_drops_entire_examples_and_keeps_the_mean():
    layer = mit.StochasticDepth(0.25)
    kept = layer(np.ones((4000, 1, 1, 2), np.float32), training=True).numpy()
    assert np.unique(kept) == pytest.approx([0, 1 / 0.75])
    assert (kept[..., 0] == kept[..., 1]).all()
    assert kept.mean() == pytest.approx(1.0, abs=0.05)
    assert (layer(np.ones((2, 1, 1, 2), np.float32)).numpy() == 1).all()


def test_multiply_adds_by_hand():
    # MobileNetV2-1.0 at 224x224 has 300 M multiply-adds (table 4 of its paper). Those include the
    # last convolution (7 * 7 * 320 * 1280) and the classifier (1280 * 1000), which ours leaves out.
    encoder = mobilenet_v2.build((224, 224), alpha=1.0, output_stride=32)
    last = 7 * 7 * 320 * 1280 + 1280 * 1000
    assert cost.multiply_adds(encoder) + last == pytest.approx(300e6, rel=0.01)
    # SegFormer-B0 at 512x512 has 8.4 GFLOPs in table 1 of its paper, which counts a multiply-add as
    # one. Ours upsamples logits instead of features, and has the same convolutions.
    model = models.build(SEGFORMER, (512, 512), 150)
    assert cost.multiply_adds(model) == pytest.approx(8.4e9, rel=0.05)
