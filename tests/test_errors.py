"""kseg.errors.run: expected errors become one line and an exit code, bugs keep their traceback."""

import errno
import os
import subprocess
import sys

import pytest

from kseg.errors import run
from tests.conftest import ROOT


def failing(error):
    def main():
        raise error

    return main


def test_a_full_disk_is_reported_in_one_line(capsys):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert run(failing(full)) == 2
    assert capsys.readouterr().err == "error: No space left on device\n"


def test_an_os_error_about_a_file_is_reported_in_one_line(capsys):
    assert run(failing(FileNotFoundError(errno.ENOENT, "No such file", "a.tflite"))) == 2
    assert capsys.readouterr().err == "error: a.tflite: No such file\n"


def test_a_missing_keras_backend_is_reported_in_one_line(monkeypatch, capsys):
    missing = ModuleNotFoundError("No module named 'jax'", name="jax")
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert run(failing(missing)) == 2
    stderr = capsys.readouterr().err
    assert stderr.startswith("error: KERAS_BACKEND is jax") and stderr.count("\n") == 1
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    with pytest.raises(ModuleNotFoundError):
        run(failing(missing))
    monkeypatch.delenv("KERAS_BACKEND")
    with pytest.raises(ModuleNotFoundError):
        run(failing(ModuleNotFoundError("another")))


def test_other_os_errors_keep_their_traceback():
    with pytest.raises(OSError, match="Broken"):
        run(failing(OSError(errno.EBADF, "Broken")))


PRINT = ("-c", "import sys; from kseg.errors import run; sys.exit(run(lambda: print('x' * 99)))")


def run_into(stdout, argv, **environment):
    done = subprocess.run(
        [sys.executable, *argv],
        cwd=ROOT,
        stdout=stdout,
        stderr=subprocess.PIPE,
        env={**os.environ, **environment},
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.fixture
def closed_pipe():
    """The write end of a pipe whose reader has gone, as after `| head`."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    yield write_end
    os.close(write_end)


@pytest.mark.parametrize("argv", [PRINT, ("-m", "kseg.predict", "--help")])
def test_a_closed_pipe_ends_a_command_silently_at_exit(closed_pipe, argv):
    assert run_into(closed_pipe, argv, PYTHONUNBUFFERED="") == (141, "")


def test_a_closed_pipe_ends_a_command_silently_while_it_prints(closed_pipe):
    assert run_into(closed_pipe, PRINT, PYTHONUNBUFFERED="1") == (141, "")


def test_stdout_on_a_full_disk_is_reported_in_one_line():
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    with open("/dev/full", "w") as full:
        assert run_into(full, PRINT, PYTHONUNBUFFERED="") == (2, "error: No space left on device\n")


def test_a_broken_pipe_other_than_stdout_keeps_its_traceback():
    with pytest.raises(BrokenPipeError):
        run(failing(BrokenPipeError(errno.EPIPE, "Broken pipe")))
