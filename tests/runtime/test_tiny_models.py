"""kseg.runtime.tiny_models, and the synthetic frames that they run."""

import zlib

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from kseg.export import thresholds
from kseg.export.profiles import TUNED
from kseg.runtime import synthetic_frames, tiny_models
from kseg.runtime.litert import TFLiteModel


def class_maps(precision, **options):
    model = TFLiteModel(tiny_models.read(precision), **options)
    return np.stack([model(frame) for frame in synthetic_frames.frames(tiny_models.SIZE)])


@pytest.mark.parametrize("precision", TUNED)
def test_every_precision_computes_the_same_model(precision):
    expected = class_maps("fp32", reference_kernels=True)
    assert np.bincount(expected.ravel()).max() < 0.6 * expected.size  # No class is everywhere.
    computed = class_maps(precision)
    assert computed.shape == (10, *tiny_models.SIZE)
    assert TFLiteModel(tiny_models.read(precision)).input_dtype == "uint8"
    assert (computed == expected).mean() >= thresholds.LIMITS[precision].agreement


def test_int8_weights_are_int8_and_fp16_weights_float16():
    types = {}
    for precision in TUNED:
        model = schema.ModelT.InitFromPackedBuf(tiny_models.read(precision), 0)
        types[precision] = {tensor.type for tensor in model.subgraphs[0].tensors}
    names = schema.TensorType
    assert names.INT8 not in types["fp32"] | types["fp16"]
    assert names.FLOAT16 in types["fp16"] and names.FLOAT16 not in types["fp32"]
    assert names.FLOAT32 in types["int8-dynamic"] and names.INT8 in types["int8-dynamic"]
    assert names.FLOAT32 not in types["int8"]


def test_int8_class_maps_are_the_same_on_every_cpu():
    """Integer arithmetic is exact. This is the checksum that kseg.doctor would print."""
    reference = class_maps("int8", reference_kernels=True).astype(np.uint8)
    assert f"{zlib.crc32(reference.tobytes()):08x}" == "3bd641eb"


def test_frames_equal_those_of_the_cpp_doctor():
    """Computed by hand: the sky, and where the road begins, with their noise.

    tests/deploy/test_cpp.py compares the class maps of all ten.
    """
    number, (height, width) = 3, (6, 20)
    state, noise = 12345 + number, []
    for _ in range(3 * height * width):
        state = (state * 1664525 + 1013904223) % 2**32
        noise.append(state >> 28)
    noise = np.array(noise).reshape(height, width, 3)
    frame = synthetic_frames.frame((height, width), number)
    assert np.array_equal(frame[0, 0], noise[0, 0] + [150, 180, 210])
    # Road: |x - 20 * 8 // 20| < 5 - 6 // 3.
    assert np.array_equal(frame[5, 5], noise[5, 5] + [60, 120, 60])
    assert np.array_equal(frame[5, 6], noise[5, 6] + 105)
