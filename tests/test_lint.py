"""kseg.lint on what no target should get: each refused by name, in files of TensorFlow's own."""

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
    """As Keras 2 wrote dilation, where the converter does not see a convolution in the middle."""
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


@pytest.mark.parametrize("named", FILES)
def test_it_is_refused_by_name_with_a_remedy(named):
    lines = linter.problems(convert(*FILES[named]))
    assert any(named in line and line.count(";") for line in lines), lines


def test_a_custom_operator_is_refused():
    tflite = convert(tf.math.erfinv, SHAPE, custom=True)
    assert any(
        "CUSTOM Erfinv" in line and "no phone has it" in line for line in linter.problems(tflite)
    )


def test_weights_behind_the_graph_are_weights():
    """As ai-edge-quantizer writes large ones: a file of ours is made from it by inlining them."""
    matrix = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    tflite = convert(lambda image: tf.linalg.matmul(image, matrix), SHAPE)
    model = contract.unpack(tflite)
    large = max((b for b in model.buffers if b.data is not None), key=lambda b: len(b.data))
    data, large.data = bytes(large.data), None
    large.offset, large.size = 2, len(data)  # A first guess, to learn the graph's length.
    large.offset = len(contract.pack(model, 4096))
    behind = contract.pack(model, 4096) + data
    (op,) = [
        op for op in tflite_graph.read(behind)[0] if op.name in ("FULLY_CONNECTED", "BATCH_MATMUL")
    ]
    assert any(t.data is not None and bytes(t.data) == data for t in op.inputs)
    assert bytes(data) in contract.pack(contract.unpack(behind), 4096)
