"""How a child process ended, in one line. Standard library only."""

import signal

_MAX_LENGTH = 300


def describe_exit(returncode: int | None, output: str, *, limit_s: float | None = None) -> str:
    """Returns one line on how a child process ended, such as "exit code 1: ValueError: no".

    returncode: as subprocess gives it, where -N means signal N; None when the process was stopped
    because it had not finished after limit_s seconds.
    output: what it wrote to stderr (or to both streams). An "error: ..." line, as
    kseg.errors.run prints it, stands alone, without the exit code.
    """
    if returncode is None:
        return f"no result within {limit_s:g} s"
    if returncode == -signal.SIGKILL:
        return "killed (signal 9, SIGKILL), as the system does when memory runs out"
    lines = _lines(output)
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    message = (errors or _exception(lines) or lines or ["it printed nothing"])[-1].strip()
    if returncode < 0:
        name = signal.Signals(-returncode).name
        message = f"ended by signal {-returncode} ({name}): {message}"
    elif not errors:
        message = f"exit code {returncode}: {message}"
    return message[:_MAX_LENGTH]


def _lines(output: str) -> list[str]:
    """All lines but empty ones and LiteRT's INFO log; progress bars end theirs with a return."""
    lines = [line.rstrip() for line in output.replace("\r", "\n").splitlines()]
    return [line for line in lines if line and not line.startswith("INFO")]


def _exception(lines: list[str]) -> list[str]:
    """The line that names the exception of the last traceback, in a list; empty without one."""
    for number in reversed(range(len(lines))):
        if lines[number].startswith("Traceback (most recent"):
            return [line for line in lines[number + 1 :] if not line.startswith(" ")][:1]
    return []
