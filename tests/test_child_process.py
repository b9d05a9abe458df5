"""How a child process ended, in one line."""

import signal

import pytest

from kseg.child_process import describe_exit

TRACEBACK = 'Traceback (most recent call last):\n  File "a.py", line 1\nValueError: no\nbye\n'


@pytest.mark.parametrize(
    ("returncode", "output", "tokens"),
    [
        (1, TRACEBACK, ["exit code 1", "ValueError: no"]),
        (1, "", ["exit code 1", "printed nothing"]),
        (3, "first\n 10 %\r 20 %\r\nINFO: loaded\n", ["exit code 3", "20 %"]),
        (-signal.SIGSEGV, "last line\n", ["signal 11", "SIGSEGV", "last line"]),
        (-signal.SIGKILL, "", ["signal 9", "memory"]),
    ],
)
def test_the_line_has_the_exit_code_or_signal_and_the_cause(returncode, output, tokens):
    line = describe_exit(returncode, output)
    assert all(token in line for token in tokens) and "\n" not in line
    assert "bye" not in line and "INFO" not in line


def test_a_commands_own_error_stands_alone():
    assert describe_exit(2, "warning\nerror: road.png: no such file\n") == "road.png: no such file"


def test_a_process_that_was_stopped_is_described_by_its_time_limit():
    assert "120 s" in describe_exit(None, "", limit_s=120)


def test_long_lines_are_cut():
    assert len(describe_exit(1, "x" * 1000)) == 300
