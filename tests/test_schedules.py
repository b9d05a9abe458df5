import pytest

from kseg.schedules import OneCycle


def test_one_cycle_start_peak_and_end():
    schedule = OneCycle(peak=1.0, steps=100)
    assert float(schedule(0)) == pytest.approx(1 / 25)
    assert float(schedule(29)) == pytest.approx(1.0)  # 30 % of the steps, counted from 0.
    assert float(schedule(99)) == pytest.approx(1 / 25e4, rel=1e-2)
    # Half way up and half way down a cosine lies the mean.
    assert float(schedule(14.5)) == pytest.approx((1 + 1 / 25) / 2, rel=1e-4)
    assert float(schedule(64)) == pytest.approx(0.5, rel=1e-3)


def test_one_cycle_rises_then_falls():
    rates = [float(OneCycle(3e-4, 50)(step)) for step in range(50)]
    top = rates.index(max(rates))
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)


def test_a_single_step_is_finite():
    assert 0 < float(OneCycle(1.0, 1)(0)) <= 1.0
