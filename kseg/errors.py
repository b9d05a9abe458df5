"""Errors that are the user's to mend: one clear line and exit code 2. Bugs keep their traceback."""

import difflib
import errno
import os
import sys

_FULL = (errno.ENOSPC, errno.EDQUOT)


class InputError(ValueError):
    """Bad input. The message is one line: what is wrong, where, what was got, what to do."""


def nearest(got, known):
    """Says which of the `known` names come nearest to one that is not among them."""
    return f"nearest: {', '.join(difflib.get_close_matches(got, known, n=3, cutoff=0))}"


def run(main):
    """Calls `main()` as a command.

    Returns its exit code (None is 0); 2 after printing an InputError, what the system says of a
    file (no such folder, no permission, disk full), or that Keras' backend is missing; 130 after
    Ctrl-C; 141 where whoever read its output has left (`| head`): the code that the shell gives
    programs that SIGPIPE ends.
    """
    try:
        try:
            code = main() or 0
        except SystemExit:  # --help
            sys.stdout.flush()
            raise
        sys.stdout.flush()  # Not left to the interpreter's end, where no failure can be caught.
        return code
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        if not _stdout_fails("\n"):  # A pipe of our own.
            raise
        return 141
    except OSError as error:
        # A write that meets a full disk names no file.
        if error.filename is None and error.errno not in _FULL:
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


def _stdout_fails(text=""):
    """Writes what standard output still holds, and `text`. Returns whether it failed; all that is
    printed there is lost from then on."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False
