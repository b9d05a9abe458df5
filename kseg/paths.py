"""Paths of data sets: local folders, or cloud storage named by URL (gs://, s3://, az://).

Local paths are pathlib's. Remote ones are etils.epath's, with the same methods; TFDS uses them too.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kseg.errors import InputError

BUCKETS = ("gs://", "s3://", "az://")


def to_path(text: str | os.PathLike[str]) -> Any:
    """Returns a pathlib.Path for a local path, an etils.epath.Path for a URL.

    Path objects are returned unchanged. Raises InputError on any other kind of URL, and
    when the package that reads it is not installed.
    """
    if isinstance(text, os.PathLike):
        return text
    if not is_remote(text):
        return Path(text)
    if not text.startswith(BUCKETS):
        raise InputError(
            f"{text}: expected a folder or a URL that begins with gs://, s3:// or az://"
        )
    if not text.startswith("gs://"):
        # TensorFlow has no file system for s3:// and az://; fsspec has (packages s3fs, adlfs).
        os.environ["EPATH_USE_TF"] = "0"
    _check_file_system(text)
    from etils import epath

    return epath.Path(text)


def _check_file_system(url: str) -> None:
    """Raises InputError when the package that reads a URL is not installed."""
    if url.startswith("gs://"):
        return  # TensorFlow's own.
    import fsspec

    try:
        fsspec.get_filesystem_class(url.partition("://")[0])
    except ImportError as error:
        package = "s3fs" if url.startswith("s3://") else "adlfs"
        raise InputError(
            f"{url}: {package} is not installed; run .venv/bin/pip install {package}"
        ) from error


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Returns whether a path is a URL."""
    return "://" in os.fspath(path)


@contextlib.contextmanager
def s3_errors(*paths: str | os.PathLike[str]) -> Iterator[None]:
    """Turns errors of an S3 store's client into InputErrors, where one of the paths is s3://."""
    urls = [url for path in paths if (url := os.fspath(path)).startswith("s3://")]
    try:
        yield
    except Exception as error:
        # No connection, no credentials; by name, as only s3:// needs that package.
        by_client = type(error).__module__.startswith("botocore.")
        # Access denied, no such bucket. Python's own OSErrors have an errno.
        by_store = isinstance(error, OSError) and error.errno is None
        if not urls or not (by_client or by_store):
            raise
        raise InputError(
            f"{urls[0]}: {error}; check the bucket's name, AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY"
        ) from error


def refresh(path: Any) -> None:
    """Forgets the cached listings of a bucket, which lack what other processes have written."""
    if is_remote(path) and not os.fspath(path).startswith("gs://"):  # TensorFlow caches none.
        from etils.epath import backend

        backend.fsspec_backend.fs(path).invalidate_cache()


def size_bytes(path: Any) -> int:
    """Returns the size of a local or remote file in bytes. Raises OSError."""
    stat = path.stat()
    return stat.length if is_remote(path) else stat.st_size


def for_tensorflow(path: str | os.PathLike[str]) -> str:
    """Returns a path as text for tf.data. Raises InputError when TensorFlow cannot read it."""
    text = os.fspath(path)
    if is_remote(text) and not text.startswith("gs://"):
        raise InputError(
            f"{text}: TensorFlow reads local files and gs:// only; copy the data set to a folder"
        )
    return text
