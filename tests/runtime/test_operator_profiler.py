import pytest

from kseg.errors import InputError
from kseg.runtime import operator_profiler, subprocess_benchmark
from tests.conftest import ROOT

MODEL = ROOT / "tests" / "golden" / "model.tflite"


def test_operators_have_names_calls_and_times():
    measured = subprocess_benchmark.measure(
        str(MODEL), threads=1, rounds=1, seconds=1, operators=True
    )
    calls = {row["operator"]: row["calls"] for row in measured["operators"]}
    assert calls["ARG_MAX"] == 1 and sum(n for k, n in calls.items() if "Convolution" in k) >= 20
    times = [row["ms"] for row in measured["operators"]]
    assert times == sorted(times, reverse=True)


def test_a_profile_of_unknown_form_is_an_error(monkeypatch):
    text = "== Summary by node type ==\nnothing"
    monkeypatch.setattr(operator_profiler, "_profile", lambda *_: text)
    with pytest.raises(InputError, match="table"):
        operator_profiler.profile_operators("model.tflite", 1)


def test_another_version_of_litert_is_refused_before_a_native_call(monkeypatch):
    monkeypatch.setattr(operator_profiler, "version", lambda _: "2.4.0")
    monkeypatch.setattr(operator_profiler.ctypes, "CDLL", None)
    with pytest.raises(InputError, match=r"model\.tflite.*2\.3.*2\.4\.0"):
        operator_profiler.profile_operators("model.tflite", 1)


def test_a_missing_function_is_named(monkeypatch):
    litert = operator_profiler._LiteRt("model.tflite")
    with pytest.raises(InputError, match=r"LiteRtNoSuch.*VERS_1\.0"):
        litert.call("LiteRtNoSuch")
