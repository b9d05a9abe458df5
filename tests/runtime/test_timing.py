import numpy as np
import pytest

from kseg.runtime import timing


class FakeMachine:
    """Models that take given seconds on a clock of their own, times the noise of each round."""

    def __init__(self, seconds, noise):
        self.seconds, self.noise, self.now, self.calls = seconds, noise, 0.0, []

    def run(self, name):
        current_round = len(self.calls) // (2 * len(self.seconds))
        self.calls.append(name)
        self.now += self.seconds[name] * self.noise[current_round]

    def time_interleaved(self, **limits):
        calls = {name: lambda name=name: self.run(name) for name in self.seconds}
        return timing.time_interleaved(calls, warm_up=0, clock=lambda: self.now, **limits)


def test_noise_of_a_complete_round_does_not_change_the_ratio():
    machine = FakeMachine({"ours": 0.02, "theirs": 0.03}, noise=[1, 8, 1, 3, 5])
    times = machine.time_interleaved(rounds=5, seconds=99)
    assert times["ours"] == pytest.approx([20, 160, 20, 60, 100])
    ratio = timing.ratio(times["theirs"], times["ours"])
    assert all(ratio[key] == pytest.approx(1.5) for key in ("of_minima", "median", "p10", "p90"))


def test_the_ratio_is_of_rounds_not_of_medians():
    # Rounds 2, 3, 2; the medians' ratio would be 8 / 3.
    ratio = timing.ratio(np.array([2.0, 9, 8]), np.array([1.0, 3, 4]))
    assert ratio == pytest.approx({"of_minima": 2, "median": 2, "p10": 2, "p90": 2.8})


def test_every_round_times_every_model_after_an_untimed_call():
    machine = FakeMachine({"a": 1, "b": 1, "c": 1}, noise=[1] * 20)
    machine.time_interleaved(rounds=20, seconds=999)
    rounds = np.array(machine.calls).reshape(20, 3, 2)
    assert (rounds[..., 0] == rounds[..., 1]).all()
    assert (np.sort(rounds[..., 0], axis=1) == ["a", "b", "c"]).all()
    assert len({tuple(order) for order in rounds[..., 0]}) > 3  # The order varies.


def test_the_time_limit_applies_after_a_complete_round():
    machine = FakeMachine({"a": 1, "b": 1}, noise=[1] * 9)
    times = machine.time_interleaved(rounds=9, seconds=5)  # A round takes 4 s with untimed calls.
    assert [len(values) for values in times.values()] == [2, 2]


def test_percentiles_need_enough_runs():
    assert timing.summarize(np.arange(1.0, 10)) == {
        "runs": 9,
        "min_ms": 1,
        "median_ms": 5,
        "p90_ms": None,
        "p99_ms": None,
    }
    summary = timing.summarize(np.arange(101.0))
    assert (summary["p90_ms"], summary["p99_ms"]) == (90, 99)
