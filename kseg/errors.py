"""Errors that are the user's to mend: one clear line and exit code 2. Bugs keep their traceback."""

import difflib
import errno
import sys

_FULL = (errno.ENOSPC, errno.EDQUOT)


class InputError(ValueError):
    """Bad input. The message is one line: what is wrong, where, what was got, what to do."""


def nearest(got, known):
    """Says which of the `known` names come nearest to one that is not among them."""
    return f"nearest: {', '.join(difflib.get_close_matches(got, known, n=3, cutoff=0))}"


def run(main):
    """Calls `main()` as a command.

    Returns its exit code (None is 0); 2 after printing an InputError or what the system says of a
    file (no such folder, no permission, disk full), 130 after Ctrl-C.
    """
    try:
        return main() or 0
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        # A write that meets a full disk names no file.
        if error.filename is None and error.errno not in _FULL:
            raise
        where = "" if error.filename is None else f"{error.filename}: "
        print(f"error: {where}{error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
