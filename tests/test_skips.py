"""tests/skips.py: which skipped tests fail under KSEG_REQUIRE_TOOLS=1."""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

TOOL = "no Java compiler (apt-get install default-jdk-headless)"
IN_A_TEST = f"def test_it():\n    pytest.skip({TOOL!r})\n"
IN_A_FIXTURE = f"""
@pytest.fixture
def tool():
    pytest.skip({TOOL!r})

def test_it(tool):
    pass
"""
IN_A_MODULE = f"pytest.skip({TOOL!r}, allow_module_level=True)\n"
OF_A_PACKAGE = "def test_it():\n    pytest.importorskip('absent_package')\n"
OF_DATA = "def test_it():\n    pytest.skip('no real frames at /data (set KSEG_SHARED_DATA)')\n"
OF_TORCH = "def test_it():\n    pytest.importorskip('absent', reason='torch and transformers')\n"


def run(folder, text, required):
    """Runs pytest on a file of its own. Returns (exit code, output)."""
    path = folder / "test_of_a_tool.py"
    path.write_text(f"import pytest\n{text}\ndef test_other():\n    pass\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "-p", "tests.skips", str(path)],
        cwd=ROOT,
        env=os.environ | {"KSEG_REQUIRE_TOOLS": required, "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("text", [IN_A_TEST, IN_A_FIXTURE, IN_A_MODULE])
def test_a_test_that_a_missing_tool_skips_fails_where_tools_are_required(tmp_path, text):
    code, output = run(tmp_path, text, "1")
    assert code in (1, 2) and "default-jdk-headless" in output and "tests/skips.py" in output


def test_a_missing_package_fails_too(tmp_path):
    code, output = run(tmp_path, OF_A_PACKAGE, "1")
    assert code == 1 and "absent_package" in output and "1 passed" in output


def test_elsewhere_it_is_skipped(tmp_path):
    code, output = run(tmp_path, IN_A_TEST, "0")
    assert code == 0 and "1 passed, 1 skipped" in output


@pytest.mark.parametrize("text", [OF_DATA, OF_TORCH])
def test_what_ci_cannot_have_stays_skipped(tmp_path, text):
    code, output = run(tmp_path, text, "1")
    assert code == 0 and "1 passed, 1 skipped" in output


def test_every_tool_is_checked_before_and_after_installing(tmp_path):
    """With an apt-get that fails and a PATH without java: one line that names the package."""
    for name, script in (("apt-get", "echo 'E: no network' >&2; exit 100"), ("id", "echo 0")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    for name in ("bash", "dirname", "mktemp", "rm", "grep", "tail", "env"):
        for folder in ("/usr/bin", "/bin"):
            if os.path.exists(f"{folder}/{name}") and not (tmp_path / name).exists():
                (tmp_path / name).symlink_to(f"{folder}/{name}")
    done = subprocess.run(
        [ROOT / "scripts/install_runner_tools"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "E: no network" in done.stderr and done.stderr.count("error: ") == 1
    assert "default-jdk-headless" in done.stderr.splitlines()[-1]
