"""Model variants for small devices: parameter counts, and operators that they avoid."""

import pytest
from keras import layers

from kseg import models
from kseg.errors import InputError
from kseg.models import cost

SIZE = (97, 161)
# By hand. SegFormer-B0 for 19 classes has 3,719,027 parameters, its head (4 projections to 256,
# fusion, norm, classifier) 132,096 + 262,144 + 512 + 4,883 of them. Half as wide, with moving
# averages: 66,048 + 65,536 + 512 + 2,451. Averages of the encoder's norms: 2 for each of
# 512 (embeddings) + 2048 (two in each of two blocks) + 512 (reductions) + 512 (stages) channels.
SEGFORMER_EDGE = 3_719_027 - 399_635 + 134_547 + 2 * 3584
# MobileNetV2 without top has 2,257,984; ours ends before its last convolution and norm. Plus
# 2 x (320 to 64), 128 to 64, detail 144 to 32, decoder 96 to 64, 3 classes; each with a norm.
DEEPLAB_EDGE = (
    2_257_984
    - (320 * 1280 + 4 * 1280)
    + 2 * (320 * 64 + 4 * 64)
    + (128 * 64 + 4 * 64)
    + (144 * 32 + 4 * 32)
    + (9 * 96 + 4 * 96 + 96 * 64 + 4 * 64)
    + (64 * 3 + 3)
)


@pytest.fixture(scope="module", params=["segformer_b0_edge", "deeplab_v3_plus_mobilenet_edge"])
def model(request):
    return models.build(request.param, SIZE, 4, output_stride=32)


def test_parameter_counts():
    assert models.build("segformer_b0_edge", (32, 64), 19).count_params() == SEGFORMER_EDGE
    assert models.build("deeplab_v3_plus_mobilenet_edge", (32, 64), 3).count_params() == (
        DEEPLAB_EDGE
    )


def test_only_norms_and_activations_that_all_delegates_agree_on(model):
    for layer in model.layers:
        assert not isinstance(layer, layers.LayerNormalization)
        if isinstance(layer, layers.Activation):
            assert layer.activation.__name__ == "relu"


def test_no_convolution_is_dilated_at_output_stride_32(model):
    convolutions = [x for x in model.layers if isinstance(x, layers.Conv2D)]
    assert convolutions and {x.dilation_rate for x in convolutions} == {(1, 1)}
    depthwise = [x for x in model.layers if isinstance(x, layers.DepthwiseConv2D)]
    assert depthwise and {x.dilation_rate for x in depthwise} == {(1, 1)}


def test_channels_fill_slices_of_four(model):
    for layer in model.layers[1:]:
        if layer.name != "normalize":
            assert layer.output.shape[-1] % 4 == 0 or layer.name.endswith("embed_pad"), layer.name


@pytest.mark.parametrize(
    ("edge", "other", "share"),
    [
        ("segformer_b0_edge", "segformer_b0", 0.55),
        ("deeplab_v3_plus_mobilenet_edge", "deeplab_v3_plus_mobilenet_v2", 0.5),
    ],
)
def test_edge_models_need_about_half_the_multiplications(edge, other, share):
    operations = [cost.multiply_adds(models.build(name, (288, 512), 3)) for name in (edge, other)]
    assert operations[0] < share * operations[1]


def test_the_edge_segformer_has_no_published_weights():
    with pytest.raises(InputError, match="ade20k"):
        models.build("segformer_b0_edge", SIZE, 3, encoder_weights="ade20k")
