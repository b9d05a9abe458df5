"""Skipped tests under KSEG_REQUIRE_TOOLS=1, as in CI: failures, but for what CI cannot have.

scripts/install_runner_tools installs the tools.
"""

import os
import re

import pytest

ALLOWED = re.compile(
    "|".join(
        (
            # Data that is too large for the repository.
            "no real frames at",
            "no [a-z0-9_]+ in /",
            # Packages that CI installs last, so that the tests before it run without them.
            r"an extra \(./scripts/install benchmark\)",
            "OpenVINO is an extra",
            "MediaPipe is not installed",
            "keras-cv is not installed",
            "the extra `pretrained` is not installed",
            # PyTorch is in no environment of CI.
            "torch and transformers",
            "could not import 'torch'",
            # What the kernel of a container may refuse.
            "this machine cannot make the network",
            "no /dev/",
            # A registry that is down for a while is no fault of a change.
            "the npm registry is out of reach",
        )
    )
)


def refuse(report):
    """Turns a skip into a failure unless its reason is ALLOWED. Returns the report."""
    required = os.environ.get("KSEG_REQUIRE_TOOLS", "0") != "0"
    if required and report.skipped and not hasattr(report, "wasxfail"):
        path, line, reason = report.longrepr
        if not ALLOWED.search(reason):
            report.outcome = "failed"
            report.longrepr = (
                f"{path}:{line}: {reason}; KSEG_REQUIRE_TOOLS is set: install what is missing "
                "(scripts/install_runner_tools), or allow this skip in tests/skips.py"
            )
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    return refuse((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report():
    return refuse((yield))
