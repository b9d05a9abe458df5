import numpy as np
import pytest

from kseg.errors import InputError
from kseg.labels import BDD100K_DRIVABLE
from kseg.runtime import benchmark_frames
from kseg.visualize import overlay
from tests.conftest import ROOT, scene

MODEL = ROOT / "tests" / "golden" / "model.tflite"


def test_a_frame_gets_the_layout_and_dtype_of_the_input():
    frame = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    channels_last = benchmark_frames.model_input(frame, (1, 6, 8, 3), "float32")
    channels_first = benchmark_frames.model_input(frame, (1, 3, 6, 8), "float32")
    assert channels_last.dtype == np.float32 and (channels_last[0] == frame).all()
    assert (channels_first[0, 1] == frame[..., 1]).all() and channels_first.flags.c_contiguous
    shifted = benchmark_frames.model_input(frame, (1, 6, 8, 3), "int8")
    assert (shifted[0].astype(int) + 128 == frame).all()
    with pytest.raises(InputError, match="expected"):
        benchmark_frames.model_input(frame, (1, 100), "float32")


class Threshold:
    """A model that gives class 1 where red is above 128, as ids or as logits of two classes."""

    input_dtype = "uint8"

    def __init__(self, logits):
        self.logits = logits

    def run(self, array):
        bright = (array[..., 0] > 128).astype(np.uint8)
        return np.stack([1.0 - bright, bright], axis=-1) if self.logits else bright


@pytest.mark.parametrize("logits", [False, True])
def test_a_processed_frame_equals_that_of_the_runner_in_the_car(runner, logits):
    frame = scene(np.random.default_rng(0), (90, 260))[0]
    terms = runner.Segmenter(MODEL).contract
    image = runner.fit_frame(frame, terms["input_size"], terms["fit"], terms["pad_value"])
    bright = (image[..., 0] > 128).astype(np.uint8)
    class_map = runner.unfit_class_map(bright, frame.shape[:2], terms["fit"])
    process = benchmark_frames.frame_processor(Threshold(logits), MODEL)
    assert 0.1 < class_map.mean() < 0.9
    assert (process(frame) == overlay.overlay(frame, class_map, BDD100K_DRIVABLE)).all()
