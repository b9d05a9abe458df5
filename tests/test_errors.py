"""kseg.errors.run: expected errors become one line and an exit code, bugs keep their traceback."""

import errno
import os
import subprocess
import sys

import pytest

from kseg.errors import InputError, run, user_path
from tests.conftest import ROOT, command


def failing(error):
    def main():
        raise error

    return main


def test_a_full_disk_is_reported_in_one_line(capsys):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert run(failing(full)) == 2
    assert capsys.readouterr().err == "error: No space left on device\n"


def test_a_path_of_the_user_is_reported_in_one_line(tmp_path, capsys):
    def main():
        with user_path(tmp_path / "missing"):
            (tmp_path / "missing").read_bytes()

    assert run(main) == 2
    assert capsys.readouterr().err == f"error: {tmp_path / 'missing'}: No such file or directory\n"


@pytest.mark.parametrize(
    ("use", "words"),
    [
        (lambda p: (p / "file").mkdir(), "file: is a file, not a folder"),
        (lambda p: (p / "file" / "below").mkdir(), "below: is a file, not a folder"),
        (lambda p: p.read_bytes(), ": is a folder, not a file"),
    ],
)
def test_a_file_for_a_folder_is_said_so(tmp_path, use, words):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=f"{words}$"), user_path(tmp_path):
        use(tmp_path)


def test_no_permission_is_reported_in_one_line(capsys):
    assert run(failing(PermissionError(errno.EACCES, "Permission denied", "a.tflite"))) == 2
    assert capsys.readouterr().err == "error: a.tflite: Permission denied\n"


@pytest.mark.parametrize("name", ["missing", "file/below", "."])
def test_a_wrong_path_inside_the_code_keeps_its_traceback(tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"missing|below|directory"):
        run(lambda: len((tmp_path / name).read_bytes()))


@pytest.mark.parametrize("error", [InputError("bad"), PermissionError(errno.EACCES, "no", "a")])
def test_the_traceback_is_shown_on_request(error, monkeypatch, capsys):
    monkeypatch.setenv("KSEG_TRACEBACK", "0")
    run(failing(error))
    assert "Traceback" not in capsys.readouterr().err
    monkeypatch.setenv("KSEG_TRACEBACK", "1")
    assert run(failing(error)) == 2
    shown = capsys.readouterr().err
    assert "in main" in shown and shown.splitlines()[-1].startswith("error: ")


def test_wrong_paths_on_the_command_line_are_reported_in_one_line(tmp_path, capsys):
    """Of commands that need no run; those that do have such tests of their own."""
    from kseg import benchmark, doctor, lint, predict, train
    from tfrecords_tools import build, inspect, source_flags, verify
    from tfrecords_tools.demo import __main__ as demo

    file = tmp_path / "file"
    file.write_text("{")
    missing = tmp_path / "missing" / "x"
    for main, *argv in (
        (lint.main, missing),
        (lint.main, tmp_path),
        (lint.main, file / "x"),
        (doctor.main, missing),
        (doctor.main, tmp_path),
        (benchmark.main, missing),
        (benchmark.main, tmp_path),
        (predict.main, missing, file),
        (predict.main, file, file),
        (train.main, "--config", missing),
        (train.main, "--config", tmp_path),
        (train.main, "--data", file),
        (train.main, "--data", missing),
        (inspect.main, missing),
        (inspect.main, file),
        (verify.main, missing),
        (verify.main, file),
        (demo.main, "--train", 1, "--val", 1, "--out", file / "x"),
        *(
            (build.main, "--source", source, "--data", data, "--out", tmp_path / "out")
            for source in ("bdd100k", "folder", *source_flags.TASKED, *source_flags.NAMED)
            for data in (file, missing)
        ),
    ):
        assert command(main, argv) == 2, (main, argv)
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1 and lines[0].startswith("error: "), (main, argv, lines)


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
