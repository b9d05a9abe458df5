import dataclasses
import math

import pytest

from kseg.config import Config
from kseg.errors import InputError
from kseg.training.schedules import OneCycle, build


def test_one_cycle_start_peak_and_end():
    schedule = OneCycle(peak=1.0, steps=100)
    assert float(schedule(0)) == pytest.approx(1 / 25)
    assert float(schedule(29)) == pytest.approx(1.0)  # 30 % of the steps, counted from 0.
    assert float(schedule(99)) == pytest.approx(1 / 25e4, rel=1e-2)
    # Half way up and half way down, a cosine has its mean.
    assert float(schedule(14.5)) == pytest.approx((1 + 1 / 25) / 2, rel=1e-4)
    assert float(schedule(64)) == pytest.approx(0.5, rel=1e-3)


def test_one_cycle_rises_then_falls():
    rates = [float(OneCycle(3e-4, 50)(step)) for step in range(50)]
    top = rates.index(max(rates))
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)


def test_a_single_step_is_finite():
    assert 0 < float(OneCycle(1.0, 1)(0)) <= 1.0


def built(**fields):
    return build(dataclasses.replace(Config(), learning_rate=2.0, **fields), 100)


def test_poly_by_hand():
    schedule = built(schedule="poly", poly_power=0.9)
    assert float(schedule(0)) == 2.0
    assert float(schedule(75)) == pytest.approx(2.0 * 0.25**0.9)
    assert float(schedule(100)) == pytest.approx(0.0, abs=1e-7)


def test_cosine_and_constant_by_hand():
    cosine, constant = built(schedule="cosine"), built(schedule="constant")
    assert float(cosine(0)) == 2.0
    assert float(cosine(25)) == pytest.approx(1 + math.cos(math.pi / 4))
    assert float(cosine(50)) == pytest.approx(1.0)
    assert [float(constant(step)) for step in (0, 50, 100)] == [2.0, 2.0, 2.0]


@pytest.mark.parametrize("name", ["poly", "cosine", "constant"])
def test_warm_up_scales_the_first_steps(name):
    plain, warm = built(schedule=name), built(schedule=name, warmup_steps=10)
    assert float(warm(0)) == pytest.approx(0.1 * float(plain(0)))
    assert float(warm(4)) == pytest.approx(0.5 * float(plain(4)))
    assert [float(warm(step)) for step in (9, 60)] == [float(plain(step)) for step in (9, 60)]


def test_a_warm_up_that_does_not_end_is_refused():
    with pytest.raises(InputError, match=r"'warmup_steps' is 100, .* only 100 steps"):
        built(schedule="poly", warmup_steps=100)
