"""scripts/three_hosts.py: three network namespaces as hosts, of which one is lost."""

import importlib.util
import os
import subprocess
import sys

import pytest

from kseg.errors import InputError
from tests.conftest import ROOT

SCRIPT = ROOT / "scripts" / "three_hosts.py"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    spec = importlib.util.spec_from_file_location("three_hosts", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_without_root_it_is_refused_in_one_line(script, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(InputError, match="need root"):
        script.check_machine()


def test_losses_further_apart_than_the_tolerance_fail(script, capsys):
    ours = [(1.0, 2.0)] * script.EPOCHS
    script.compare(ours, [(1.0, 2.0 * (1 + 0.9 * script.TOLERANCE))] * script.EPOCHS)
    for other in ([(1.0, 2.0 * (1 + 1.1 * script.TOLERANCE))] * script.EPOCHS, ours[:-1]):
        with pytest.raises(script.Failure):
            script.compare(ours, other)


@pytest.mark.slow
def test_two_hosts_go_on_where_three_lost_one(script, tmp_path):
    try:
        script.check_machine()
    except InputError as error:
        pytest.skip(str(error))
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--work", str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert "passed" in done.stdout
