"""Where data lies: in local folders, or in buckets named by URL (gs://, s3://, az://).

The paths of both have pathlib's methods; those of buckets are etils.epath's, which TFDS uses too.
"""

import os
from pathlib import Path

from kseg.errors import InputError

BUCKETS = ("gs://", "s3://", "az://")


def to_path(text):
    """Returns the pathlib.Path of a local path and the etils.epath.Path of a URL.

    A path is returned as it is. Raises InputError on a URL of another kind.
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
        # TensorFlow has no file system for the others; fsspec has (packages s3fs, adlfs).
        os.environ["EPATH_USE_TF"] = "0"
    from etils import epath

    return epath.Path(text)


def is_remote(path):
    """Whether a path, or its text, names a bucket."""
    return "://" in os.fspath(path)


def size_bytes(path):
    """Returns a file's size. Raises OSError."""
    stat = path.stat()
    return stat.length if is_remote(path) else stat.st_size


def for_tensorflow(path):
    """Returns the text by which tf.data opens a file. Raises InputError where it cannot."""
    text = os.fspath(path)
    if is_remote(text) and not text.startswith("gs://"):
        raise InputError(
            f"{text}: TensorFlow reads local files and gs:// only; copy the data set to a folder"
        )
    return text
