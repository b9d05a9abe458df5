"""Writing files atomically, checksums and locks. Standard library only."""

import contextlib
import fcntl
import hashlib
import os
from pathlib import Path

from kseg.errors import InputError


@contextlib.contextmanager
def atomic_write(path):
    """Yields a temporary path to write to; it replaces `path` once written and synced to disk.

    Raises InputError when it cannot be written; what was at `path` before is then untouched.
    """
    path = Path(path)
    partial = path.with_name(f"partial-{path.name}")
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())  # Else a power cut can leave the new name with no content.
        os.replace(partial, path)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error}); make room there and run the "
            "same command again"
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def write_text(path, text):
    """Writes a text file atomically. Raises InputError when it cannot be written."""
    with atomic_write(path) as partial:
        partial.write_text(text)


def sha256(path):
    """Returns the SHA-256 of a file, in hex. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def lock(folder, message):
    """Holds FOLDER/.lock exclusively; yields its file descriptor, for child processes to inherit.

    A child process that outlives its killed parent keeps the lock. Raises InputError with
    `message` when another process holds it.
    """
    with (Path(folder) / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"{folder}: {message}") from error
        yield file.fileno()
