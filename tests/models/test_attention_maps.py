import keras
import numpy as np
import pytest

from kseg import models
from kseg.errors import InputError
from kseg.models.attention_maps import attention_maps
from kseg.models.encoders import mit
from tests.conftest import randomize

SIZE = (97, 161)


@pytest.fixture(scope="module")
def model():
    model = models.build("segformer_b0", SIZE, 3, decoder_channels=8)
    randomize(model, seed=0)
    return model


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def stages(model, image):
    return attention_maps(model, image)


def test_each_stage_has_its_heads_and_grids(stages):
    # 97x161 in strides 4, 8, 16, 32, rounded up; keys from maps 8, 4, 2, 1 times smaller, down.
    assert [s.query_grid for s in stages] == [(25, 41), (13, 21), (7, 11), (4, 6)]
    assert [s.key_grid for s in stages] == [(3, 5), (3, 5), (3, 5), (4, 6)]
    for stage, heads in zip(stages, (1, 2, 5, 8), strict=True):
        queries, keys = np.prod(stage.query_grid), np.prod(stage.key_grid)
        assert stage.weights.shape == (2, heads, queries, keys)


def test_the_weights_of_every_query_sum_to_one(stages):
    for stage in stages:
        assert (stage.weights >= 0).all()
        assert np.allclose(stage.weights.sum(-1), 1, atol=1e-5)
        assert stage.weights.std() > 0


def test_weights_times_values_equal_the_output_of_each_layer(model, image, stages):
    for number, stage in enumerate(stages, 1):
        for block in range(2):
            layer = model.get_layer(f"stage{number}_block{block + 1}_attention")
            both = keras.Model(model.input, [layer.input[2], layer.output])
            value, expected = both(image[None].astype(np.float32))
            got = stage.weights[block] @ np.asarray(value)[0]
            assert np.abs(got - np.asarray(expected)[0]).max() < 1e-5 * np.abs(expected).max()


def own_color_attention(scale):
    """Attention (6, 6) on an image of one red, two green and three blue pixels.

    One block whose keys are the colours and whose queries are `scale` times the colours: the score
    is scale / sqrt(3) for a pixel of the same colour, and 0 for others.
    """
    name = "stage1_block1_attention"
    variant = mit.VARIANTS["b0"]._replace(heads=(1,), reductions=(1,))
    image = keras.Input((2, 3, 3))
    model = keras.Model(image, mit.efficient_attention(image, variant, 0, name))
    for kind, factor in (("query", scale), ("key", 1.0)):
        kernel = factor * np.eye(3, dtype=np.float32)[None, None]
        model.get_layer(f"{name}_{kind}").set_weights([kernel, np.zeros(3)])
    red, green, blue = np.eye(3)
    (stage,) = attention_maps(model, np.array([[red, green, green], [blue, blue, blue]]))
    assert (stage.query_grid, stage.key_grid) == ((2, 3), (2, 3))
    return stage.weights[0, 0]


def test_a_query_attends_to_the_keys_of_its_colour():
    red, green, blue = [1, 0, 0, 0, 0, 0], [0, 1 / 2, 1 / 2, 0, 0, 0], [0, 0, 0, *[1 / 3] * 3]
    expected = np.array([red, green, green, blue, blue, blue])
    assert np.allclose(own_color_attention(100.0), expected, atol=1e-6)


def test_scores_are_scaled_by_the_root_of_the_width():
    # The same colour has weight e^log 2 = 2, others 1.
    red = np.array([2, 1, 1, 1, 1, 1]) / 7
    green = np.array([1, 2, 2, 1, 1, 1]) / 8
    blue = np.array([1, 1, 1, 2, 2, 2]) / 9
    expected = np.array([red, green, green, blue, blue, blue])
    assert np.allclose(own_color_attention(np.log(2) * np.sqrt(3)), expected, atol=1e-6)


def test_attention_maps_do_not_change_the_model(model, image):
    before = model.get_weights()
    names = [layer.name for layer in model.layers]
    attention_maps(model, image)
    assert [layer.name for layer in model.layers] == names
    for old, now in zip(before, model.get_weights(), strict=True):
        assert np.array_equal(old, now)


def test_the_edge_variant_has_attention_maps_and_keeps_its_weights():
    model = models.build("segformer_b0_edge", (33, 65), 3, decoder_channels=8)
    before = model.get_weights()
    stages = attention_maps(model, np.zeros((33, 65, 3), np.uint8))
    assert [s.weights.shape[1] for s in stages] == [1, 2, 5, 8]
    # Batch norm's moving averages too: this is inference.
    for old, now in zip(before, model.get_weights(), strict=True):
        assert np.array_equal(old, now)


def test_bad_input_gets_one_line(model):
    unet = models.build("unet", (33, 65), 3, decoder_channels=4)
    with pytest.raises(InputError, match=r"unet: .*SegFormer"):
        attention_maps(unet, np.zeros((33, 65, 3), np.uint8))
    with pytest.raises(InputError, match=r"\(97, 160, 3\).*\(97, 161, 3\)"):
        attention_maps(model, np.zeros((97, 160, 3), np.uint8))
