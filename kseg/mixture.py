"""Training on several data sets at once: what each contributes to a batch, and its classes in ours.

Masks of the mixture have the ids of the main data set's classes, 0 to C - 1, then one id for each
union of classes (kseg.training.unions), and 255 for ignored pixels. Standard library only.
"""

from typing import Any, NamedTuple

from kseg import class_map
from kseg.config import Config, frames_of_batch
from kseg.errors import InputError
from kseg.labels import IGNORE_ID
from kseg.manifest import Manifest, check_labelled, read_manifest

# For ids of masks that are no class of their data set: no class of ours either, so scores are NaN.
_UNKNOWN_ID = IGNORE_ID - 1


class Part(NamedTuple):
    """One data set of a mixture.

    frames: how many frames of each batch are of it. classes: {class of it: class or union of ours,
    or "ignore"}. ids: 256 ids, that of the mixture for each id of its masks.
    """

    data: str
    manifest: Manifest
    frames: int
    classes: dict[str, str]
    ids: tuple[int, ...]


class Mixture(NamedTuple):
    """parts: the main data set and then those of Config.also. unions: class ids of each union."""

    parts: tuple[Part, ...]
    unions: tuple[tuple[int, ...], ...]

    @property
    def pattern(self) -> list[int]:
        """The part of each frame of a batch, spread so that equal slices have equal shares."""
        places = [
            ((i + 0.5) / part.frames, number)
            for number, part in enumerate(self.parts)
            for i in range(part.frames)
        ]
        return [number for _, number in sorted(places)]

    @property
    def request(self) -> dict[str, Any]:
        """From what the data sets were built: that of the main one, and `also` of the others."""
        main, *others = (part.manifest.request for part in self.parts)
        return main | ({"also": others} if others else {})


def read_mixture(config: Config, main: Manifest | None = None) -> Mixture:
    """Returns the Mixture of config.data and config.also. main: the Manifest of config.data.

    Raises InputError when a further data set has no train split, frames of another size, or a class
    without counterpart.
    """
    main = main or read_manifest(config.data)
    frames, *others = frames_of_batch(config)
    names = main.labels.names
    parts = [Part(config.data, main, frames, {name: name for name in names}, tuple(range(256)))]
    unions: list[tuple[int, ...]] = []
    for text, count in zip(config.also, others, strict=True):
        also = class_map.parse(text)
        manifest = read_manifest(also.data)
        _check_frames(also.data, manifest, parts[0])
        counterparts = class_map.resolve(also, manifest.labels, main.labels)
        if not any(counterparts.values()):
            raise InputError(f"--also {also.data}: all its classes are ignored; leave it out")
        unions += sorted({c for c in counterparts.values() if len(c) > 1} - set(unions))
        classes = {
            name: "|".join(names[c] for c in counterpart) or class_map.IGNORE
            for name, counterpart in counterparts.items()
        }
        ids = [_id(counterpart, names, unions) for counterpart in counterparts.values()]
        ids += [_UNKNOWN_ID] * (IGNORE_ID - len(ids)) + [IGNORE_ID]
        parts.append(Part(also.data, manifest, count, classes, tuple(ids)))
    if len(names) + len(unions) > _UNKNOWN_ID:
        raise InputError(f"--also: {len(unions)} different unions of classes are too many ids")
    return Mixture(tuple(parts), tuple(unions))


def _id(counterpart, names, unions):
    if len(counterpart) > 1:
        return len(names) + unions.index(counterpart)
    return counterpart[0] if counterpart else IGNORE_ID


def _check_frames(data, manifest, main):
    if "train" not in manifest.splits or not manifest.splits["train"].examples:
        raise InputError(f"--also {data}: has no frames in split 'train'; build it with --split")
    check_labelled(data, manifest, "train")
    if manifest.size != main.manifest.size:
        raise InputError(
            f"--also {data}: its frames have size {_text(manifest.size)}, those of {main.data} "
            f"{_text(main.manifest.size)}; build both with the same --size"
        )


def _text(size):
    return "x".join(map(str, size)) if size else "of each image"
