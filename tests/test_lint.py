"""kseg.lint on operators that no target should get, in files that TensorFlow wrote."""

import numpy as np
import pytest
import tensorflow as tf

from kseg import contract
from kseg.export import linter, tflite_graph


def convert(function, shape, *operators, custom=False):
    image = tf.TensorSpec(shape, tf.float32, name="image")
    concrete = tf.function(function, input_signature=[image]).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, *operators]
    converter.allow_custom_ops = custom
    return converter.convert()


def dilated(image):
    """Dilation as Keras 2 wrote it, around an operator that is not a convolution."""
    blocks = tf.space_to_batch(image, [2, 2], [[0, 0], [0, 0]])
    return tf.batch_to_space(tf.nn.relu(blocks), [2, 2], [[0, 0], [0, 0]])


SHAPE = (1, 4, 6, 3)
FILES = {
    "SPACE_TO_BATCH_ND": (dilated, SHAPE),
    "CUSTOM FlexAdjustHue": (
        lambda image: tf.image.adjust_hue(image, 0.1),
        SHAPE,
        tf.lite.OpsSet.SELECT_TF_OPS,
    ),
    "dynamic shape": (lambda image: tf.nn.relu(image) + 1.0, (1, None, 6, 3)),
    "rank 5": (lambda image: tf.transpose(image[..., None, :] * [[1.0]] * 2.0), SHAPE),
    "INT64": (lambda image: tf.argmax(image, -1), SHAPE),
}


@pytest.mark.parametrize("name", FILES)
def test_each_problem_has_a_name_and_a_remedy(name):
    lines = linter.problems(convert(*FILES[name]))
    assert any(name in line and line.count(";") for line in lines), lines


def test_a_custom_operator_is_refused():
    tflite = convert(tf.math.erfinv, SHAPE, custom=True)
    assert any("CUSTOM Erfinv" in line for line in linter.problems(tflite))


def test_weights_after_the_flatbuffer_are_read():
    """ai-edge-quantizer writes large weights there; export moves them into the FlatBuffer."""
    matrix = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    tflite = convert(lambda image: tf.linalg.matmul(image, matrix), SHAPE)
    model = contract.unpack(tflite)
    large = max((b for b in model.buffers if b.data is not None), key=lambda b: len(b.data))
    data, large.data = bytes(large.data), None
    large.offset, large.size = 2, len(data)  # A placeholder, to measure the FlatBuffer.
    large.offset = len(contract.pack(model, 4096))
    appended = contract.pack(model, 4096) + data
    (op,) = [
        op
        for op in tflite_graph.read(appended)[0]
        if op.name in ("FULLY_CONNECTED", "BATCH_MATMUL")
    ]
    assert any(t.data is not None and bytes(t.data) == data for t in op.inputs)
    assert bytes(data) in contract.pack(contract.unpack(appended), 4096)
