import keras
import numpy as np
import pytest

from kseg import models
from kseg.errors import InputError
from kseg.models import cost
from kseg.models.encoders import mit, mobilenet_v2

DEEPLAB, SEGFORMER = "deeplab_v3_plus_mobilenet_v2", "segformer_b0"
SIZES = [(97, 161), (180, 320), (360, 640), (288, 512)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", [DEEPLAB, SEGFORMER])
def test_logits_have_the_input_size_whatever_it_is(name, size):
    model = models.build(name, size, 3, encoder_alpha=0.35, decoder_channels=16)
    assert model.input_shape == (None, *size, 3)
    assert model.output_shape == (None, *size, 3)


@pytest.mark.parametrize("name", [DEEPLAB, SEGFORMER])
def test_forward_at_an_odd_size_is_finite_and_sees_the_image(name):
    model = models.build(name, (97, 161), 3, encoder_alpha=0.35, decoder_channels=16)
    randomize(model, seed=3)
    images = np.zeros((2, 97, 161, 3), np.float32)
    images[1, :, 80:] = 255.0
    logits = model.predict_on_batch(images)
    assert logits.shape == (2, 97, 161, 3) and np.isfinite(logits).all()
    assert np.abs(logits[0] - logits[1]).max() > 0.01 * np.abs(logits).max()


def test_parameter_counts():
    # SegFormer-B0 with 19 classes is 3.7 M in table 1 of the paper; with 150 classes the published
    # checkpoint has 3,752,694, to which Keras adds the 512 moving averages of the head's norm.
    assert models.build(SEGFORMER, (128, 256), 150).count_params() == 3_752_694 + 512
    assert models.build(SEGFORMER, (97, 161), 19).count_params() == 3_719_027 + 512
    # MobileNetV2-0.35 without top has 410,208 (keras.applications); ours ends before its last
    # 112 x 1280 convolution and its norm.
    encoder = mobilenet_v2.build((97, 161), alpha=0.35, output_stride=16)
    assert encoder.count_params() == 410_208 - 112 * 1280 - 4 * 1280
    model = models.build(DEEPLAB, (97, 161), 3, encoder_alpha=0.35, output_stride=8)
    assert model.count_params() == 899_235


@pytest.mark.parametrize(
    ("output_stride", "coarsest"), [(8, (13, 21)), (16, (7, 11)), (32, (4, 6))]
)
def test_output_stride_sets_the_coarsest_grid(output_stride, coarsest):
    encoder = mobilenet_v2.build((97, 161), alpha=0.35, output_stride=output_stride)
    assert max(encoder.output) == output_stride
    assert encoder.output[output_stride].shape[1:3] == coarsest
    assert encoder.output[4].shape[1:3] == (25, 41)


def randomize(model, seed):
    """Random weights everywhere, batch norm's averages too, so that a swap cannot hide."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        values = rng.normal(0, 0.3, weight.shape)
        positive = weight.name in ("moving_variance", "gamma")
        weight.assign(np.abs(values) + 0.5 if positive else values)


@pytest.mark.parametrize("size", [(96, 160), (97, 161)])
def test_mobilenet_equals_keras_applications_after_loading_its_file(tmp_path, size):
    reference = keras.applications.MobileNetV2(
        input_shape=(*size, 3), alpha=0.35, include_top=False, weights=None
    )
    randomize(reference, seed=0)
    reference.save_weights(tmp_path / "w.weights.h5")
    encoder = mobilenet_v2.build(size, alpha=0.35, output_stride=32)
    mobilenet_v2.load_weights(encoder, str(tmp_path / "w.weights.h5"), alpha=0.35)
    image = np.random.default_rng(1).uniform(0, 255, (1, *size, 3)).astype(np.float32)
    last = keras.Model(reference.input, reference.get_layer("block_16_project_BN").output)
    expected = last(image / 127.5 - 1).numpy()
    got = encoder(image)[32].numpy()
    assert np.abs(got - expected).max() < 1e-4 * np.abs(expected).max()


def test_dilated_encoder_sees_the_same_weights_at_a_finer_grid():
    # Replacing strides by dilation keeps the value at the pixels both grids share (away from the
    # borders, where padding differs): every second pixel of the finer one.
    size = (256, 256)
    coarse = mobilenet_v2.build(size, alpha=0.35, output_stride=32)
    fine = mobilenet_v2.build(size, alpha=0.35, output_stride=16)
    fine.set_weights(coarse.get_weights())
    image = np.random.default_rng(2).uniform(0, 255, (1, *size, 3)).astype(np.float32)
    at_coarse, at_fine = coarse(image)[32].numpy(), fine(image)[16].numpy()
    # TensorFlow pads an even map below and right, so the stride-2 grid sits at odd pixels.
    shared = at_fine[:, 1::2, 1::2]
    assert np.abs(shared - at_coarse)[:, 3:-3, 3:-3].max() < 1e-3 * np.abs(at_coarse).max()


def test_real_pretrained_weights_load(shared_data):
    path = shared_data / "weights" / "mobilenet_v2_0.35_notop.weights.h5"
    model = models.build(DEEPLAB, (64, 96), 3, encoder_alpha=0.35, encoder_weights=str(path))
    # ImageNet's first filters are not noise: their norms differ by far more than at initialization.
    norms = np.linalg.norm(model.get_layer("Conv1").get_weights()[0].reshape(27, -1), axis=0)
    assert norms.max() > 3 * norms.min()


def test_encoder_weights_of_another_width_are_refused_by_name(tmp_path):
    other = keras.applications.MobileNetV2(
        input_shape=(32, 32, 3), alpha=0.5, include_top=False, weights=None
    )
    path = str(tmp_path / "half.weights.h5")
    other.save_weights(path)
    with pytest.raises(InputError, match=r"half.weights.h5: does not hold .*alpha 0.35"):
        models.build(DEEPLAB, (64, 96), 3, encoder_alpha=0.35, encoder_weights=path)


@pytest.mark.parametrize("name", [DEEPLAB, SEGFORMER])
def test_encoder_weights_that_are_not_there_are_refused(name):
    with pytest.raises(InputError, match=r"nowhere\.h5"):
        models.build(name, (64, 96), 3, encoder_weights="nowhere.h5")


@pytest.mark.parametrize(
    ("name", "head"), [(DEEPLAB, "aspp_project_conv"), (SEGFORMER, "head_fuse_conv")]
)
def test_frozen_encoder_leaves_the_head_to_train(name, head):
    model = models.build(name, (64, 96), 3, encoder_alpha=0.35, freeze_encoder=True)
    trained = {v.path.split("/")[0] for v in model.trainable_variables}
    assert head in trained
    assert not trained & {"Conv1", "block_3_expand", "stage1_embed", "stage2_block1_ffn_expand"}


def test_attention_by_hand():
    # One head, two queries, keys that pick one value each; softmax of (s, 0) with s = 2 / sqrt(1).
    query = np.array([[[[2.0], [-2.0]]]], np.float32)
    key = np.array([[[[1.0], [0.0]]]], np.float32)
    value = np.array([[[[10.0], [20.0]]]], np.float32)
    got = mit.DotProductAttention()([query, key, value]).numpy().ravel()
    weight = 1 / (1 + np.exp(-2.0))
    assert got == pytest.approx([10 * weight + 20 * (1 - weight), 10 * (1 - weight) + 20 * weight])


def test_stochastic_depth_drops_whole_examples_and_keeps_the_mean():
    layer = mit.StochasticDepth(0.25)
    kept = layer(np.ones((4000, 1, 1, 2), np.float32), training=True).numpy()
    assert np.unique(kept) == pytest.approx([0, 1 / 0.75])
    assert (kept[..., 0] == kept[..., 1]).all()
    assert kept.mean() == pytest.approx(1.0, abs=0.05)
    assert (layer(np.ones((2, 1, 1, 2), np.float32)).numpy() == 1).all()


def test_multiply_adds_by_hand():
    # MobileNetV2-1.0 at 224x224 has 300 M multiply-adds (table 4 of its paper) with the 1280-wide
    # last convolution (7 * 7 * 320 * 1280) and classifier (1280 * 1000), which ours leaves out.
    encoder = mobilenet_v2.build((224, 224), alpha=1.0, output_stride=32)
    last = 7 * 7 * 320 * 1280 + 1280 * 1000
    assert cost.multiply_adds(encoder) + last == pytest.approx(300e6, rel=0.01)
    # SegFormer-B0 at 512x512 has 8.4 GFLOPs in table 1 of its paper, which counts a multiply-add as
    # one; ours upsamples logits, not features, and counts the same convolutions.
    model = models.build(SEGFORMER, (512, 512), 150)
    assert cost.multiply_adds(model) == pytest.approx(8.4e9, rel=0.05)
