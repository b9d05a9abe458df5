"""Errors that users can fix: one clear line and exit code 2. Bugs keep their traceback."""

import difflib
import errno
import os
import sys
from collections.abc import Callable, Iterable

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class InputError(ValueError):
    """Bad input. The message is one line: what is wrong, where, the value given, what to do."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns "nearest: a, b, c": the three known names most similar to an unknown one."""
    return f"nearest: {', '.join(difflib.get_close_matches(name, list(known), n=3, cutoff=0))}"


def run(main: Callable[[], int | None]) -> int:
    """Calls the `main()` of a command and turns expected errors into one line and an exit code.

    Returns main's own exit code (None counts as 0), or
    2 for an InputError, for an OSError about a file (no such folder, no permission, disk full),
    and when the backend that KERAS_BACKEND names is not installed;
    130 after Ctrl-C;
    141 when the reader of stdout has closed the pipe (`| head`), as the shell reports SIGPIPE.
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
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        if not _stdout_fails("\n"):  # The broken pipe is another one: a bug.
            raise
        return 141
    except OSError as error:
        # An OSError about a full disk carries no file name.
        if error.filename is None and error.errno not in _DISK_FULL:
            raise
        where = "" if error.filename is None else f"{error.filename}: "
        print(f"error: {where}{error.strerror}", file=sys.stderr)
        _stdout_fails()
        return 2
    except ModuleNotFoundError as error:
        backend = os.environ.get("KERAS_BACKEND")
        if not backend or error.name != backend:
            raise
        print(
            f"error: KERAS_BACKEND is {backend}, which is not installed; unset it, or for jax: "
            "./scripts/install jax",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


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
