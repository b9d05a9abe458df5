import errno
import os

import pytest

from kseg.errors import run


def failing(error):
    def main():
        raise error

    return main


def test_a_full_disk_is_one_line_though_the_system_names_no_file(capsys):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert run(failing(full)) == 2
    assert capsys.readouterr().err == "error: No space left on device\n"


def test_what_the_system_says_of_a_file_is_one_line(capsys):
    assert run(failing(FileNotFoundError(errno.ENOENT, "No such file", "a.tflite"))) == 2
    assert capsys.readouterr().err == "error: a.tflite: No such file\n"


def test_other_errors_of_the_system_keep_their_traceback():
    with pytest.raises(OSError, match="Broken"):
        run(failing(OSError(errno.EBADF, "Broken")))
