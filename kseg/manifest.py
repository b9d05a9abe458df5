"""manifest.json: the contents of a folder of TFRecord shards. Standard library only.

tfrecords_tools.build writes it last, so a folder with a manifest is complete.
"""

import dataclasses
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kseg.errors import InputError
from kseg.labels import IGNORE_ID, LabelSet
from kseg.paths import is_remote, to_path

FILE_NAME = "manifest.json"
VERSION = 1


@dataclass(frozen=True)
class Shard:
    """One TFRecord file: name, number of examples, SHA-256 (hex digits) and size in bytes."""

    name: str
    examples: int
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Split:
    """One split. pixels: labelled pixels per class id; ignored: pixels with id 255.

    drives: {name of a drive: its number of frames}; empty where names of frames hold no drive.
    """

    examples: int
    pixels: tuple[int, ...]
    ignored: int
    shards: tuple[Shard, ...]
    drives: dict[str, int] = field(default_factory=dict)

    @property
    def shares(self) -> list[float]:
        """The fraction of the labelled pixels that each class has, 0..1."""
        total = sum(self.pixels) or 1
        return [count / total for count in self.pixels]


@dataclass(frozen=True)
class Manifest:
    """A data set. size: (height, width) of every example, or None when they differ.

    request: the parameters of the build (source, split, seed, size, digest of the inputs). A build
    with the same request has nothing to do. drive_pattern: the regular expression that finds the
    drive in a frame's name, "" if names hold none. notes: what the build did to frames beyond
    resizing, and to how many. reframed: to how many it added bars (letterbox), or cut edges off
    (crop); None in data sets of older versions, which did not count them.
    """

    dataset: str
    labels: LabelSet
    size: tuple[int, int] | None
    splits: dict[str, Split]
    request: dict[str, Any]
    version: int = VERSION
    drive_pattern: str = ""
    notes: dict[str, int] = field(default_factory=dict)
    reframed: int | None = None

    def to_json(self) -> str:
        document = dataclasses.asdict(self) | {"labels": self.labels.to_dict()}
        return json.dumps(document, indent=1) + "\n"


def read_manifest(folder: str | os.PathLike[str]) -> Manifest:
    """Reads FOLDER/manifest.json. Raises InputError when it is missing or is no kseg manifest."""
    path = to_path(folder) / FILE_NAME
    try:
        document = json.loads(path.read_text())
    except FileNotFoundError as error:
        local = not is_remote(folder) and not Path(folder).is_absolute()
        raise InputError(
            f"{folder}: no {FILE_NAME}{f' (in {Path.cwd()})' if local else ''}, so this is not a "
            "complete TFRecord data set; name another with --data, or build one with `python -m "
            "tfrecords_tools.build`"
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
            drive_pattern=document.get("drive_pattern", ""),
            notes=document.get("notes", {}),
            reframed=document.get("reframed"),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: not a kseg manifest ({error}); build the data set again"
        ) from error


def check_labelled(folder: str | os.PathLike[str], manifest: Manifest, split: str) -> None:
    """Raises InputError when no pixel of a split has a class: nothing to learn or to score.

    A training split whose labelled pixels all have one class is refused too.
    """
    pixels = manifest.splits[split].pixels
    if manifest.splits[split].examples and not any(pixels):
        raise InputError(
            f"{folder}: every pixel of split '{split}' is ignored (id {IGNORE_ID}), so it can "
            "neither train a model nor score one; check the labels it was built from"
        )
    present = [name for name, count in zip(manifest.labels.names, pixels, strict=False) if count]
    if split == "train" and len(pixels) > 1 and len(present) == 1:
        raise InputError(
            f"{folder}: all labelled pixels of split 'train' are '{present[0]}', so there is "
            "nothing to learn; check the masks (in masks of 0 and 255, 255 is ignored: "
            "--source folder --mask-values 0:0 255:1 makes it class 1)"
        )


def resizing(manifest: Manifest, size: tuple[int, int]) -> str:
    """Says that frames are resized to `size`, after their number; "" where they are stored so."""
    if manifest.size == size:
        return ""
    stored = "x".join(map(str, manifest.size)) if manifest.size else "different sizes"
    return f" of {stored}, resized to {size[0]}x{size[1]}"


def missing_classes(manifest: Manifest, split: str) -> list[str]:
    """Returns the names of the classes that have no pixel in a split."""
    pixels = manifest.splits[split].pixels
    return [name for name, count in zip(manifest.labels.names, pixels, strict=False) if not count]


def _split(document: dict[str, Any]) -> Split:
    shards = tuple(Shard(**shard) for shard in document["shards"])
    drives = document.get("drives", {})
    return Split(
        document["examples"], tuple(document["pixels"]), document["ignored"], shards, drives
    )
