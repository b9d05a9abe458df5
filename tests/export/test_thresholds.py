"""kseg.export.thresholds: each limit rejects a file on its own and reports what was measured."""

import pytest

from kseg.export import thresholds

KERAS = {"mean_iou": 0.8, "drivable_iou": 0.9}


def measured(agreement=1.0, lost=0.0, drivable_lost=0.0):
    scores = {"mean_iou": 0.8 - lost / 100, "drivable_iou": 0.9 - drivable_lost / 100}
    return {"pixel_agreement": agreement, "scores": scores}


@pytest.mark.parametrize("precision", thresholds.LIMITS)
def test_each_limit_rejects_on_its_own(precision):
    agreement, loss = thresholds.LIMITS[precision]
    assert thresholds.accuracy_problems(measured(agreement, loss - 0.01), KERAS, precision) == []
    for bad, token in (
        (measured(agreement - 0.0001), "pixels"),
        (measured(lost=loss + 0.01), "mean IoU"),
        (measured(drivable_lost=loss + 0.01), "drivable IoU"),
    ):
        (line,) = thresholds.accuracy_problems(bad, KERAS, precision)
        assert token in line and precision in line


def test_an_allowed_loss_replaces_the_limits():
    bad = measured(agreement=0.5, lost=3)
    assert thresholds.accuracy_problems(bad, KERAS, "fp32", allowed_loss=3.1) == []
    (line,) = thresholds.accuracy_problems(bad, KERAS, "fp32", allowed_loss=2.9)
    assert "3.00 points" in line and "--allow-loss 3" in line


def test_a_file_may_be_better_than_the_model():
    assert thresholds.accuracy_problems(measured(lost=-5), KERAS, "int8") == []


def test_differences_and_operators_on_the_cpu_are_problems_of_the_gpu():
    right = {"verified": True, "device": "D", "fully_accelerated": True, "pixel_agreement": 0.996}
    right |= {"frames": 2, "gpu": KERAS, "cpu": KERAS}
    assert thresholds.gpu_problems(right, required=True) == []
    (line,) = thresholds.gpu_problems(right | {"pixel_agreement": 0.88}, required=False)
    assert "88.000 %" in line and "99.5 %" in line
    (line,) = thresholds.gpu_problems(right | {"fully_accelerated": False}, required=False)
    assert "CPU" in line and "D" in line
    worse = right | {"gpu": {"mean_iou": 0.797, "drivable_iou": 0.9}}
    (line,) = thresholds.gpu_problems(worse, required=False)
    assert all(token in line for token in ("mean IoU", "0.30 points", "CPU", "2 frames"))
    assert thresholds.gpu_problems(worse, required=False, allowed_loss=0.4) == []


def test_a_missing_gpu_is_a_problem_only_when_one_is_required():
    none = {"verified": False, "reason": "no Vulkan device", "refused": []}
    assert thresholds.gpu_problems(none, required=False) == []
    assert thresholds.gpu_problems(none, required=True) == ["on the GPU: no Vulkan device"]
    crashed = {"verified": False, "reason": "crashed", "refused": ["crashed"]}
    assert thresholds.gpu_problems(crashed, required=False) == ["on the GPU: crashed"]
