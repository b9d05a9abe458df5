"""Errors that users can fix: one clear line and exit code 2. Bugs keep their traceback."""

import contextlib
import difflib
import errno
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator

# What the machine refuses, however right the code is: disk full or read-only, no permission, ...
# All others (no such file, is a directory, ...) can be bugs, unless they are about a user's path.
_BY_THE_MACHINE = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.EIO, errno.ESTALE, errno.ENAMETOOLONG),
)


class InputError(ValueError):
    """Bad input. The message is one line: what is wrong, where, the value given, what to do."""


@contextlib.contextmanager
def user_path(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turns an OSError into an InputError, while a path that the user gave is opened or created."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{error.filename or path}: {_reason(error)}") from error


def _reason(error: OSError) -> str:
    if isinstance(error, FileExistsError | NotADirectoryError):
        return "is a file, not a folder"
    if isinstance(error, IsADirectoryError):
        return "is a folder, not a file"
    return error.strerror or str(error)


def is_by_the_machine(error: OSError) -> bool:
    """Whether the machine refused (disk full, no permission, ...), so that it is not a bug."""
    return error.errno in _BY_THE_MACHINE


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns "nearest: a, b, c": the three known names most similar to an unknown one."""
    return f"nearest: {', '.join(difflib.get_close_matches(name, list(known), n=3, cutoff=0))}"


def run(main: Callable[[], int | None]) -> int:
    """Calls the `main()` of a command and turns expected errors into one line and an exit code.

    Returns main's own exit code (None counts as 0), or
    2 for an InputError, for an OSError by the machine (no permission, disk full), and when the
    backend that KERAS_BACKEND names is not installed;
    130 after Ctrl-C;
    141 when the reader of stdout has closed the pipe (`| head`), as the shell reports SIGPIPE.
    With KSEG_TRACEBACK=1 in the environment the traceback is printed before the line.
    """
    try:
        try:
            code = main() or 0
        except SystemExit:  # --help
            sys.stdout.flush()
            raise
        sys.stdout.flush()  # A failure of the flush at interpreter exit could not be caught.
        return code
    except InputError as error:
        _print_error(str(error))
        return 2
    except BrokenPipeError:
        if not _stdout_fails("\n"):  # The broken pipe is another one: a bug.
            raise
        return 141
    except OSError as error:
        if not is_by_the_machine(error):
            raise
        # An OSError about a full disk carries no file name.
        where = "" if error.filename is None else f"{error.filename}: "
        _print_error(f"{where}{error.strerror}")
        _stdout_fails()
        return 2
    except ModuleNotFoundError as error:
        backend = os.environ.get("KERAS_BACKEND")
        if not backend or error.name != backend:
            raise
        _print_error(
            f"KERAS_BACKEND is {backend}, which is not installed; unset it, or for jax: "
            "./scripts/install jax"
        )
        return 2
    except KeyboardInterrupt:
        _print_traceback()
        print("interrupted", file=sys.stderr)
        return 130


def _print_error(line: str) -> None:
    """Prints the error that is being handled as one line."""
    _print_traceback()
    print(f"error: {line}", file=sys.stderr)


def _print_traceback() -> None:
    if os.environ.get("KSEG_TRACEBACK", "0") not in ("", "0"):
        traceback.print_exc()


def _stdout_fails(text: str = "") -> bool:
    """Writes `text` and flushes stdout. Returns whether that failed; if so, closes stdout for good.

    Later prints then go to /dev/null, so that the flush at interpreter exit does not fail again.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False
