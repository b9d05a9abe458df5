"""Atomic file writes, checksums and locks. Standard library only."""

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from kseg.errors import InputError


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary path to write to; it replaces `path` once written and synced to disk.

    Raises InputError when writing fails. After any failure the old content of `path` is untouched.
    """
    path = Path(path)
    partial = path.with_name(f"partial-{path.name}")
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())  # Otherwise a power cut can leave an empty file under the name.
        os.replace(partial, path)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error}); free some space there and "
            "run the same command again"
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes a text file atomically. Raises InputError when writing fails."""
    with atomic_write(path) as partial:
        partial.write_text(text, "utf-8")


def sync(path: str | os.PathLike[str]) -> None:
    """Waits until a file or folder is on disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """Returns the SHA-256 checksum of a file as hex digits. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def lock(folder: str | os.PathLike[str], message: str) -> Iterator[int]:
    """Holds an exclusive lock on FOLDER/.lock; yields its file descriptor.

    Child processes can inherit the descriptor: one that outlives its killed parent keeps the lock.
    Raises InputError with `message` when another process holds the lock.
    """
    with (Path(folder) / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"{folder}: {message}") from error
        yield file.fileno()
