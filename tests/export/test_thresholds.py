"""kseg.export.thresholds: each limit refuses alone and says what was measured."""

import pytest

from kseg.export import thresholds

KERAS = {"mean_iou": 0.8, "drivable_iou": 0.9}


def measured(agreement=1.0, lost=0.0, drivable_lost=0.0):
    scores = {"mean_iou": 0.8 - lost / 100, "drivable_iou": 0.9 - drivable_lost / 100}
    return {"pixel_agreement": agreement, "scores": scores}


@pytest.mark.parametrize(
    ("precision", "agreement", "loss"),
    [("fp32", 0.999, 0.2), ("fp16", 0.995, 0.2), ("int8", 0.98, 1), ("int8-dynamic", 0.98, 1)],
)
def test_each_limit_refuses_alone(precision, agreement, loss):
    assert thresholds.accuracy_problems(measured(agreement, loss - 0.01), KERAS, precision) == []
    for bad, words in (
        (measured(agreement - 0.0001), "pixels name the class"),
        (measured(lost=loss + 0.01), "mean IoU is"),
        (measured(drivable_lost=loss + 0.01), "drivable IoU is"),
    ):
        (line,) = thresholds.accuracy_problems(bad, KERAS, precision)
        assert words in line and precision in line


def test_an_allowed_loss_is_a_limit_too():
    bad = measured(agreement=0.5, lost=3)
    assert thresholds.accuracy_problems(bad, KERAS, "fp32", allowed_loss=3.1) == []
    (line,) = thresholds.accuracy_problems(bad, KERAS, "fp32", allowed_loss=2.9)
    assert "3.00 points" in line and "--allow-loss 3" in line


def test_a_file_may_be_better_than_the_model():
    assert thresholds.accuracy_problems(measured(lost=-5), KERAS, "int8") == []


def test_the_gpu_refuses_what_it_answers_otherwise_or_leaves_to_the_cpu():
    right = {"verified": True, "device": "D", "fully_accelerated": True, "pixel_agreement": 0.996}
    right |= {"frames": 2, "gpu": KERAS, "cpu": KERAS}
    assert thresholds.gpu_problems(right, required=True) == []
    (line,) = thresholds.gpu_problems(right | {"pixel_agreement": 0.88}, required=False)
    assert "88.000 %" in line and "99.5 %" in line
    (line,) = thresholds.gpu_problems(right | {"fully_accelerated": False}, required=False)
    assert "part of it runs on the CPU" in line
    worse = right | {"gpu": {"mean_iou": 0.797, "drivable_iou": 0.9}}
    (line,) = thresholds.gpu_problems(worse, required=False)
    assert "mean IoU is 0.30 points below the CPU's on the same 2 frames" in line
    assert thresholds.gpu_problems(worse, required=False, allowed_loss=0.4) == []


def test_no_gpu_is_a_problem_only_where_one_was_asked_for():
    none = {"verified": False, "reason": "no Vulkan device", "refused": []}
    assert thresholds.gpu_problems(none, required=False) == []
    assert thresholds.gpu_problems(none, required=True) == ["on the GPU: no Vulkan device"]
    crashed = {"verified": False, "reason": "crashed", "refused": ["crashed"]}
    assert thresholds.gpu_problems(crashed, required=False) == ["on the GPU: crashed"]
