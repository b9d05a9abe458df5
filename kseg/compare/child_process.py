"""Commands of ours run as processes of their own, on this terminal: memory and state end with them.

Standard library only.
"""

import contextlib
import signal
import subprocess
import sys
import threading

_GRACE_S = 5  # After Ctrl-C, which the child has got as well.
_KEPT_BYTES = 65536


class Failed(Exception):
    """A command failed; the message is one line that says why. code: its exit code."""

    def __init__(self, why, code):
        super().__init__(why)
        self.code = code


def run(module, *argv, locks=()):
    """Runs `python -m MODULE ARGV...` on this terminal. Raises Failed, KeyboardInterrupt.

    locks: file descriptors of locks that the child holds too, as long as it lives.
    """
    command = [sys.executable, "-m", module, *map(str, argv)]
    sys.stdout.flush()
    with _terminate_as_interrupt():
        # Stdout is the terminal itself, so that progress bars stay what they are.
        child = subprocess.Popen(command, stderr=subprocess.PIPE, pass_fds=locks)
        kept = bytearray()
        passing = threading.Thread(target=_pass_on, args=(child.stderr, kept), daemon=True)
        passing.start()
        try:
            child.wait()
        except BaseException:
            _end(child)
            raise
        passing.join()
    if child.returncode in (130, -signal.SIGINT):
        raise KeyboardInterrupt
    if child.returncode:
        stderr = kept.decode(errors="replace")
        raise Failed(describe_failure(child.returncode, stderr), child.returncode)


def describe_failure(code, stderr):
    """One line on why a process ended: its own error, how it was killed, or its last words."""
    lines = [line.rstrip() for line in stderr.replace("\r", "\n").splitlines() if line.strip()]
    if code == -signal.SIGKILL:
        return (
            "its process was killed (signal 9), as the system does when memory runs out; smaller "
            "batch_size or size need less"
        )
    if code < 0:
        return f"its process ended with signal {-code} ({signal.Signals(-code).name})"
    own = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (own or _raised(lines) or lines or [f"exit code {code}"])[-1].strip()[:300]


def _raised(lines):
    """The line after the last traceback that names the exception."""
    for number in reversed(range(len(lines))):
        if lines[number].startswith("Traceback (most recent"):
            return [line for line in lines[number + 1 :] if not line.startswith(" ")][:1]
    return []


def _pass_on(stream, kept):
    """Copies a child's stderr to ours as it comes, and its end to `kept`."""
    while chunk := stream.read1(4096):
        sys.stderr.write(chunk.decode(errors="replace"))
        sys.stderr.flush()
        kept += chunk
        del kept[:-_KEPT_BYTES]


def _end(child):
    """Ends a child; a run can go on after a kill at any moment."""
    try:
        child.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        child.terminate()
        child.wait()


@contextlib.contextmanager
def _terminate_as_interrupt():
    """kill PID ends the child too, as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
