"""Errors that kseg-run reports in one line, with what to do; and the log."""

import sys


class InputError(ValueError):
    """A model, file, flag or device that cannot be used. Exit code 2."""


class FrameError(InputError):
    """A single frame that cannot be segmented. The next one may succeed."""


class DeviceLostError(RuntimeError):
    """A camera or GPU that was lost, or a model that fails on frame after frame. Exit code 3."""


def log_to_stderr(line: str) -> None:
    """Prints a message for people. stdout may carry JSON lines."""
    print(line, file=sys.stderr, flush=True)
