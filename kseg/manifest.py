"""manifest.json: what a folder of TFRecord shards holds. Standard library only.

Written last by tfrecords_tools.build, so a folder with a manifest is whole.
"""

import dataclasses
import json
from dataclasses import dataclass

from kseg.errors import InputError
from kseg.labels import LabelSet
from kseg.paths import to_path

FILE_NAME = "manifest.json"
VERSION = 1


@dataclass(frozen=True)
class Shard:
    """One TFRecord file: its name, its number of examples, its SHA-256 (hex) and its bytes."""

    name: str
    examples: int
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Split:
    """One split. pixels counts the labelled pixels of each class id, ignored those with id 255."""

    examples: int
    pixels: tuple[int, ...]
    ignored: int
    shards: tuple[Shard, ...]

    @property
    def shares(self):
        """Each class's share of the labelled pixels, 0..1."""
        total = sum(self.pixels) or 1
        return [count / total for count in self.pixels]


@dataclass(frozen=True)
class Manifest:
    """A whole data set. size is (height, width) of every example, None when they differ.

    request is what the build was asked for (source, split, seed, size, digest of the inputs), so
    that asking again is recognised.
    """

    dataset: str
    labels: LabelSet
    size: tuple[int, int] | None
    splits: dict[str, Split]
    request: dict
    version: int = VERSION

    def to_json(self):
        document = dataclasses.asdict(self) | {"labels": self.labels.to_dict()}
        return json.dumps(document, indent=1) + "\n"


def read_manifest(folder):
    """Reads FOLDER/manifest.json. Raises InputError when there is none or it is not ours."""
    path = to_path(folder) / FILE_NAME
    try:
        document = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise InputError(
            f"{folder}: no {FILE_NAME} here, so this is no finished TFRecord data set; make one "
            "with `python -m tfrecords_tools.build`"
        ) from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); build the data set again") from error
    try:
        if document["version"] > VERSION:
            raise InputError(f"{path}: version {document['version']} is newer than this kseg's")
        size = document["size"]
        return Manifest(
            dataset=document["dataset"],
            labels=LabelSet.from_dict(document["labels"], where=str(path)),
            size=tuple(size) if size else None,
            splits={name: _split(split) for name, split in document["splits"].items()},
            request=document["request"],
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: not a kseg manifest ({error}); build the data set again"
        ) from error


def _split(document):
    shards = tuple(Shard(**shard) for shard in document["shards"])
    return Split(document["examples"], tuple(document["pixels"]), document["ignored"], shards)
