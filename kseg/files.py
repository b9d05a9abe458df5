"""Atomic file writes, checksums and locks. Standard library only."""

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from kseg.errors import InputError, is_by_the_machine

LOCK = ".lock"
TEMPORARY = "kseg-partial-"  # Temporary folders begin with this.

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # Errors of file systems without locks.


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary path to write to; it replaces `path` once written and synced to disk.

    Raises InputError when writing fails; an OSError about a file elsewhere passes. After any
    failure the old content of `path` is untouched. Where several processes write one path, each has
    a temporary path of its own, and the last to finish replaces what the others wrote.
    """
    path = Path(path)
    try:
        with temporary_folder(path.parent) as folder:
            partial = folder / path.name
            yield partial
            with partial.open("rb") as file:
                os.fsync(file.fileno())  # Else a power cut can leave an empty file under the name.
            os.replace(partial, path)
    except OSError as error:
        if _is_elsewhere(error, path.parent) and not is_by_the_machine(error):
            raise  # A bug in what writes the file.
        raise InputError(_cannot_be_written(path, error)) from error


def check_writable(folder: str | os.PathLike[str]) -> None:
    """Raises InputError where a folder cannot be written: before the work, not after it."""
    try:
        with temporary_folder(folder):
            pass
    except OSError as error:
        raise InputError(_cannot_be_written(folder, error)) from error


def _cannot_be_written(path, error):
    advice = "repair that"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        advice = "free some space there"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        advice = "make it writable, or name another place,"
    reason = error.strerror or error
    return f"{path}: cannot be written ({reason}); {advice} and run the same command again"


def _is_elsewhere(error: OSError, folder: Path) -> bool:
    """Whether an error names a file that is not in `folder`."""
    name = error.filename
    return isinstance(name, str) and folder.absolute() not in Path(name).absolute().parents


@contextlib.contextmanager
def temporary_folder(parent: str | os.PathLike[str] | None = None) -> Iterator[Path]:
    """Yields a new folder in `parent` (default: that of the system), and removes it at the end.

    It is locked as long as its process lives. So those that killed processes have left in `parent`
    are recognised, and removed first. Raises OSError.
    """
    parent = Path(parent or tempfile.gettempdir())
    for folder in parent.glob(f"{TEMPORARY}*"):
        with contextlib.suppress(OSError), _open_lock(folder) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)
    with contextlib.ExitStack() as stack:
        while True:
            folder = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=parent))
            # Another process may take it for an abandoned one until it is locked.
            with contextlib.suppress(FileNotFoundError, BlockingIOError):
                file = stack.enter_context(_open_lock(folder))
                _lock_if_possible(file)
                if (folder / LOCK).exists():
                    break
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


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
def lock(
    folder: str | os.PathLike[str], message: str, *, wait: bool = False, name: str = LOCK
) -> Iterator[int]:
    """Holds an exclusive lock on FOLDER/NAME; yields its file descriptor.

    Child processes can inherit the descriptor: one that outlives its killed parent keeps the lock.
    When another process holds the lock, raises InputError with `message` and that process, or, with
    `wait`, prints them and waits. Raises InputError too when the folder cannot be written. On a
    file system without locks, prints a warning and holds none.
    """
    folder = Path(folder)
    while True:
        try:
            file = (folder / name).open("a+")
        except OSError as error:
            raise InputError(f"{folder}: cannot be written ({error.strerror})") from error
        with file:
            try:
                if not _lock_if_possible(file):
                    print(
                        f"{folder}: its file system has no locks; start no second command that "
                        "writes there",
                        file=sys.stderr,
                    )
            except BlockingIOError as error:
                file.seek(0)
                text = f"{folder}: {message} ({file.read() or 'process not known'})"
                if not wait:
                    raise InputError(text) from error
                print(text, file=sys.stderr, flush=True)
                fcntl.flock(file, fcntl.LOCK_EX)
            if not _is_current(file, folder / name):
                continue  # Its holder has removed it; another process may hold a new one.
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}")
            file.flush()
            try:
                yield file.fileno()
            finally:
                file.truncate(0)
            return


def _open_lock(folder: Path) -> IO[str]:
    return (folder / LOCK).open("a+")


def _lock_if_possible(file: IO[str]) -> bool:
    """Locks a file; False where its file system has no locks. Raises BlockingIOError."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    return True


def _is_current(file: IO[str], path: Path) -> bool:
    """Whether an open file is the one that `path` names now."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
