"""int8 quantization, and the frames it is calibrated on."""

import keras
import numpy as np
import pytest
from keras import layers

from kseg.export import convert, labelled_frames, quantize, tflite_graph
from kseg.export.profiles import PROFILES
from kseg.runtime.litert import TFLiteModel

SIZE = (32, 48)


@pytest.fixture(scope="module")
def fragile_model():
    """A model that int8 breaks (one of eight channels has 30,000 times the range), and images."""
    keras.utils.set_random_seed(0)
    image = keras.Input((*SIZE, 3), name="image")
    x = layers.Rescaling(1 / 255)(image)
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="first")(x)
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="wide")(x)
    model = keras.Model(image, layers.Conv2D(3, 1, name="logits_conv")(x), name="net")
    wide, logits = (model.get_layer(name) for name in ("wide", "logits_conv"))
    kernel, bias = wide.get_weights()
    kernel[..., 0] *= 3e4
    wide.set_weights([kernel, bias])
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8) for _ in range(8)]
    kernel, bias = logits.get_weights()
    kernel[:, :, 0] /= 3e5
    logits.set_weights([kernel, bias])
    bias = -model.predict_on_batch(np.stack(images).astype(np.float32)).mean((0, 1, 2))
    logits.set_weights([kernel, bias])
    return model, images


def test_operators_that_int8_breaks_stay_in_float(fragile_model):
    model, images = fragile_model
    expected = model.predict_on_batch(np.stack(images).astype(np.float32)).argmax(-1)
    agreements = []

    def find_problems(tflite):
        runner = TFLiteModel(tflite)
        class_maps = np.stack([runner(image) for image in images])
        agreements.append((class_maps == expected).mean())
        return [] if agreements[-1] > 0.95 else ["too few pixels agree"]

    with quantize.Quantizer(model, images, PROFILES["cpu"]) as quantizer:
        tflite, findings = quantize.search(quantizer, find_problems)
        # Naming one tensor is enough: the operators that read it stay in float too.
        wide = next(tensor for _, _, tensor in quantizer.errors() if "wide" in tensor)
        assert find_problems(quantizer.convert([wide])) == []
    assert agreements[0] < 0.6 and agreements[-1] > 0.95
    assert {kept["layer"] for kept in findings["in_float"]} == {"wide", "logits_conv"}
    assert [t["in_float"] for t in findings["tried"]] == [0, 1, 2]
    # The first convolution is still int8, and the input still uint8.
    assert TFLiteModel(tflite).input_dtype == "uint8"
    first = next(op for op in tflite_graph.read(tflite)[0] if op.name == "CONV_2D")
    assert first.layer == "first" and first.outputs[0].dtype == "INT8"


def test_attention_and_layer_norm_stay_in_float_where_int8_would_be_slower():
    image = keras.Input((*SIZE, 3), name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(image)
    x = layers.Conv2D(8, 3, strides=4, padding="same", name="embed")(x)
    tokens = layers.Reshape((96, 8))(layers.LayerNormalization(name="norm")(x))
    attended = layers.Dense(8, name="values")(tokens)
    scores = layers.Softmax()(layers.Dot(2)([tokens, attended]))
    x = layers.Reshape((8, 12, 8))(layers.Dot((2, 1))([scores, attended]))
    model = keras.Model(image, layers.Conv2D(4, 1, name="logits_conv")(x), name="net")
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8) for _ in range(4)]
    with quantize.Quantizer(model, images, PROFILES["cpu"]) as quantizer:
        tflite, findings = quantize.search(quantizer, lambda tflite: [])
        measured = {operator for _, operator, _ in quantizer.errors()}
    assert measured == {"CONV_2D", "FULLY_CONNECTED", "MUL", "ADD"}  # The last of normalisation.
    outputs = {}
    for op in tflite_graph.read(tflite)[0]:
        outputs.setdefault(op.name, set()).update(t.dtype for t in op.outputs)
    assert outputs["CONV_2D"] == outputs["FULLY_CONNECTED"] == {"INT8"}
    assert set(findings["no_fast_kernel"]) >= {"BATCH_MATMUL", "SOFTMAX", "SQUARED_DIFFERENCE"}
    normalisation = {"ADD", "MUL"}  # Also in layer norm, where they are in float.
    assert all(
        outputs[name] == {"FLOAT32"} for name in findings["no_fast_kernel"].keys() - normalisation
    )
    assert TFLiteModel(tflite).input_dtype == "uint8"


def test_int8_dynamic_keeps_the_filters_of_depthwise_convolutions_in_float():
    image = keras.Input((*SIZE, 3), name="image")
    x = layers.Conv2D(256, 3, strides=4, name="first")(image)
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    model = keras.Model(image, layers.Conv2D(4, 1, name="logits_conv")(x), name="net")
    frame = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    tflite = convert.to_tflite(model, "int8-dynamic", output="logits")
    ops = tflite_graph.read(tflite)[0]
    filters = {op.name: op.inputs[1].dtype for op in ops if op.layer in ("first", "depthwise")}
    assert filters == {"CONV_2D": "INT8", "DEPTHWISE_CONV_2D": "FLOAT32"}
    class_map = model.predict_on_batch(frame[None].astype(np.float32))[0].argmax(-1)
    assert (TFLiteModel(tflite)(frame) == class_map).mean() > 0.9


def test_calibration_takes_equally_from_each_stratum():
    # 8 items from strata of 5, 1 and 4: the single one, and the rest equally from the others.
    chosen = list(labelled_frames._share_out([[0, 1, 2, 3, 4], [5], [6, 7, 8, 9]], 8))
    assert chosen == [0, 1, 2, 3, 5, 6, 7, 8]
    assert list(labelled_frames._share_out([[0, 1, 2, 3]], 2)) == [
        0,
        2,
    ]  # Evenly spaced in the stratum.
    assert list(labelled_frames._share_out([[0], [1, 2]], 9)) == [0, 1, 2]


def test_calibration_frames_are_reproducible_and_distinct(config):
    first, second = (labelled_frames.calibration(config, "train", 7) for _ in range(2))
    keys = [frame.key for frame in first]
    assert keys == [frame.key for frame in second] and len(set(keys)) == 7
    assert first[0].image.dtype == np.uint8 and first[0].image.shape == (*config.size, 3)


def test_the_quantization_error_is_measured_per_channel():
    # A step of 8: no error on the wide channel, the narrow one (deviation 1) becomes zero.
    exact = np.array([[1000, 1], [-1000, -1]], np.float32)
    quantized = np.array([[125, 0], [-125, 0]], np.int8)
    assert quantize._relative_error(exact, quantized, 8.0, 0) == pytest.approx(0.5)
