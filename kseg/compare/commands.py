"""Runs kseg's commands as child processes on this terminal; their memory is freed when they end.

Standard library only.
"""

import contextlib
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from kseg.child_process import describe_exit

_GRACE_S = 5  # Ctrl-C reaches the child process too; it gets this long to end on its own.
_KEPT_BYTES = 65536
_OUT_OF_MEMORY = "; a smaller batch_size or size needs less memory"


class CommandFailed(Exception):
    """A command failed; the message is one line with the reason. code: its exit code."""

    def __init__(self, reason: str, code: int) -> None:
        super().__init__(reason)
        self.code = code


def run(module: str, *argv: Any, locks: Sequence[int] = ()) -> None:
    """Runs `python -m MODULE ARGV...` on this terminal. Raises CommandFailed, KeyboardInterrupt.

    locks: file descriptors of locks that the child process holds too, as long as it lives.
    """
    command = [sys.executable, "-m", module, *map(str, argv)]
    sys.stdout.flush()
    with _terminate_as_interrupt():
        # The child inherits stdout, so that its progress bars see a terminal.
        child = subprocess.Popen(command, stderr=subprocess.PIPE, pass_fds=locks)
        kept = bytearray()
        copying = threading.Thread(target=_copy_stderr, args=(child.stderr, kept), daemon=True)
        copying.start()
        try:
            child.wait()
        except BaseException:
            _end(child)
            raise
        copying.join()
    if child.returncode in (130, -signal.SIGINT):
        raise KeyboardInterrupt
    if child.returncode:
        reason = describe_exit(child.returncode, kept.decode(errors="replace"))
        hint = _OUT_OF_MEMORY if child.returncode == -signal.SIGKILL else ""
        raise CommandFailed(reason + hint, child.returncode)


def _copy_stderr(stream: BinaryIO, kept: bytearray) -> None:
    """Copies a child's stderr to this process's as it arrives, and its last bytes to `kept`."""
    while chunk := stream.read1(4096):  # type: ignore[attr-defined]
        sys.stderr.write(chunk.decode(errors="replace"))
        sys.stderr.flush()
        kept += chunk
        del kept[:-_KEPT_BYTES]


def _end(child: subprocess.Popen) -> None:
    """Ends a child process. Every command can resume after being killed at any moment."""
    try:
        child.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        child.terminate()
        child.wait()


@contextlib.contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    """Makes SIGTERM raise KeyboardInterrupt, so that `kill PID` ends the child too, as Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
