import keras
import numpy as np
import pytest

from kseg.models.resize import Resize, resize_by_matrices

SIZES = [
    ((3, 5), (5, 9)),
    ((5, 9), (9, 17)),
    ((7, 13), (97, 161)),
    ((1, 1), (6, 10)),
    ((9, 4), (5, 3)),
]


def images(size):
    return np.random.default_rng(0).uniform(-1, 1, (2, *size, 3)).astype(np.float32)


def model(source, target, interpolation):
    inputs = keras.Input((*source, 3))
    return keras.Model(inputs, Resize(target, interpolation)(inputs))


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@pytest.mark.parametrize(("source", "target"), SIZES)
def test_matrix_products_resize_as_the_backend_does(source, target, interpolation):
    usual, matrices = (model(source, target, interpolation) for _ in range(2))
    resize_by_matrices(matrices)
    expected = usual.predict_on_batch(images(source))
    assert np.abs(matrices.predict_on_batch(images(source)) - expected).max() < 1e-5


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_matrix_products_are_right_and_have_a_gradient_under_xla(interpolation):
    """XLA of TensorFlow 2.21 resizes (5, 9) to (9, 17) wrongly, and nearest without a gradient."""
    compiled = model((5, 9), (9, 17), interpolation)
    expected = compiled.predict_on_batch(images((5, 9)))
    resize_by_matrices(compiled)
    inputs = keras.layers.Dense(3, kernel_initializer="identity")
    trained = keras.Sequential([keras.Input((5, 9, 3)), inputs, compiled])
    trained.compile("sgd", "mse", jit_compile=True)
    assert np.abs(trained.predict_on_batch(images((5, 9))) - expected).max() < 1e-5
    assert trained.train_on_batch(images((5, 9)), expected) < 1e-10
    trained.train_on_batch(images((5, 9)), expected + 1)
    assert inputs.bias.numpy().min() > 0
