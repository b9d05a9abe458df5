"""The configuration of a training run: everything that changes its result, as one frozen value.

It is written to RUN/config.json before the first step; the hash of that file is stored in exported
models. kseg.presets makes a Config from a preset, a file and flags. Standard library only.
"""

import dataclasses
import difflib
import json
import math
import operator
import os
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from kseg import class_map
from kseg.errors import InputError, nearest
from kseg.model_names import ENCODERS, FAMILIES, LOSSES, MODELS


def _field(default, help, choices=None, names=None, **bounds):
    """A Config field with its help text. bounds: at_least, above, at_most, below.

    choices: valid values, which --help lists; names: valid values that are too many to list, so
    that `help` describes them.
    """
    metadata = {"help": help, "choices": choices, "names": names, "bounds": bounds}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Config:
    """The configuration of a training run. Every number that changes its result is a field."""

    data: str = _field("data/demo-144x256", "TFRecord folder made by tfrecords_tools.build")
    also: tuple[str, ...] = _field(
        (),
        "train on another data set too: DATA is its TFRecord folder, FRAMES how many frames of "
        "each batch are of it (default: an equal part), THEIRS=OURS what a class of it is among "
        "ours: a class, a union where it may be any of several, as in road=direct|alternative, or "
        "ignore. Classes of the same name need none of these; '*=OURS' is for all others. May be "
        "given several times. Scores are measured on --data only, and an epoch is one pass over it",
    )
    size: tuple[int, int] = _field(
        (144, 256),
        "height and width of the model's input; frames of another size are resized. Without "
        "--preset: that of the source of --init, or else of the frames in --data",
    )
    fit: str = _field(
        "letterbox",
        "how frames of another size are fitted to the input",
        ("letterbox", "stretch", "crop"),
    )
    model: str = _field(
        "deeplab_v3_plus_mobilenet_v2",
        "unet (trained from scratch); segformer_b0 to segformer_b5; segformer_b0_edge or "
        "deeplab_v3_plus_mobilenet_edge (half the arithmetic); or FAMILY_ENCODER, with a family "
        f"of {', '.join(FAMILIES)} and an encoder of {', '.join(ENCODERS)}",
        names=MODELS,
    )
    encoder_alpha: float = _field(
        1.0,
        "width multiplier of MobileNet encoders (other models ignore it)",
        at_least=0.05,
        at_most=2,
    )
    output_stride: int = _field(
        16,
        "input pixels per encoder output pixel (unet and SegFormer ignore it)",
        (8, 16, 32),
    )
    decoder_channels: int = _field(
        0,
        "channels of the decoder (unet: of its first level; unet_ENCODER: at stride 16); 0: as "
        "published",
        at_least=0,
    )
    encoder_weights: str = _field(
        "none",
        "initial weights of the encoder: none; imagenet (all but unet, SegFormer and "
        "EfficientNet-Lite) or ade20k, cityscapes (SegFormer), downloaded once; or a .weights.h5 "
        "file, such as kseg.import_weights writes for these two",
    )
    init: str = _field(
        "none",
        "trained network to start from, encoder and head: a run folder, a .weights.h5 file of the "
        "same architecture, or the name of a published model; without --model, --encoder-alpha, "
        "--output-stride and --decoder-channels, these are taken from it. Classes may differ: "
        "then the class layer starts fresh",
    )
    freeze_encoder: bool = _field(False, "train the decoder only")
    auxiliary_weight: float = _field(
        0.0,
        "weight of the loss of an auxiliary head on the encoder's second-to-last stage, used in "
        "training only (needs a ResNet; 0.4 in the PSPNet paper); 0: off",
        at_least=0,
    )
    loss: str = _field(
        "log_dice",
        f"training loss: one of {', '.join(LOSSES)}, or a sum such as dice+0.5*lovasz",
    )
    class_weights: str = _field(
        "none",
        "weights of the classes in the loss: none; auto (median frequency balancing); or one "
        "number per class",
    )
    focal_gamma: float = _field(2.0, "exponent of the focal loss", at_least=0)
    tversky_beta: float = _field(
        0.7,
        "Tversky losses: weight of false negatives; false positives get 1 - beta",
        above=0,
        below=1,
    )
    batch_size: int = _field(
        8,
        "images per step; auto (kseg.train on a GPU): the largest that fits into its memory, tried "
        "out; the run records and keeps it",
        at_least=1,
    )
    epochs: int = _field(12, "passes over the training split", at_least=1)
    patience: int = _field(
        0, "stop after this many epochs without a better validation mean IoU; 0: off", at_least=0
    )
    optimizer: str = _field("adam", "adam, adamw or sgd", ("adam", "adamw", "sgd"))
    weight_decay: float = _field(
        0.0,
        "weight decay: decoupled with adamw, L2 with sgd; norms and biases do not decay",
        at_least=0,
    )
    momentum: float = _field(0.9, "momentum (sgd only)", at_least=0, below=1)
    learning_rate: float = _field(3e-4, "peak learning rate of the schedule", above=0)
    encoder_learning_rate_factor: float = _field(
        1.0, "learning rate of the encoder as a fraction of learning_rate", above=0, at_most=1
    )
    schedule: str = _field(
        "one_cycle", "learning-rate schedule", ("one_cycle", "poly", "cosine", "constant")
    )
    poly_power: float = _field(0.9, "exponent of the poly schedule", above=0)
    warmup_steps: int = _field(
        0, "steps of linear warm-up from 0, for poly, cosine and constant", at_least=0
    )
    gradient_accumulation_steps: int = _field(
        1, "number of batches whose gradients are averaged for one update", at_least=1
    )
    clip_norm: float = _field(1.0, "gradients are clipped to this global norm; 0: off", at_least=0)
    ema_momentum: float = _field(
        0.0,
        "momentum of the moving average of the weights, which is validated and saved as the best "
        "(0.999 averages about the last thousand steps); 0: off",
        at_least=0,
        below=1,
    )
    mixed_precision: str = _field(
        "off",
        "compute in 16 bits, with weights and loss in float32; auto: bfloat16 or float16 if the "
        "GPU computes it fast, else off; the run records and keeps the choice",
        ("off", "float16", "bfloat16", "auto"),
    )
    xla: bool = _field(
        False,
        "TensorFlow: compile the training step with XLA, which takes a minute or more and may save "
        "time on a GPU (JAX always does)",
    )
    flip: bool = _field(True, "mirror half of the training images")
    scale_min: float = _field(
        1.0, "minimum random scale (below 1: zoomed out, with ignored bars)", at_least=0.25
    )
    scale_max: float = _field(
        1.0, "maximum random scale (above 1: zoomed in, with a random crop)", at_most=4
    )
    color_jitter: float = _field(
        0.2,
        "maximum random change of brightness, contrast and saturation; 0: off",
        at_least=0,
        below=1,
    )
    weather: float = _field(
        0.0,
        "share of training images with synthetic fog, night, rain, blur or JPEG artefacts; 0: off",
        at_least=0,
        at_most=1,
    )
    seed: int = _field(0, "seed of weights, data order and augmentation", at_least=0, below=2**31)

    def __post_init__(self):
        for spec in dataclasses.fields(self):
            _check_field(spec, getattr(self, spec.name))
        _require(min(self.size) >= 32, "size", self.size, "at least 32 x 32")
        _require(
            self.scale_min <= self.scale_max,
            "scale_min, scale_max",
            (self.scale_min, self.scale_max),
            "0.25 <= scale_min <= scale_max <= 4",
        )
        _require(
            not (self.warmup_steps and self.schedule == "one_cycle"),
            "warmup_steps",
            self.warmup_steps,
            "0 with schedule one_cycle, which has its own warm-up",
        )
        _require(
            not (self.weight_decay and self.optimizer == "adam"),
            "weight_decay",
            self.weight_decay,
            "0 with optimizer adam; use adamw",
        )
        _require(
            self.init == "none" or self.encoder_weights == "none",
            "encoder_weights",
            self.encoder_weights,
            f"none with init {self.init!r}, which has an encoder; give only one of the two",
        )
        _require(
            not self.freeze_encoder or self.init != "none" or self.encoder_weights != "none",
            "freeze_encoder",
            self.freeze_encoder,
            "False without encoder_weights and init: an encoder of random weights must learn",
        )
        loss_terms(self.loss)
        class_weight_numbers(self.class_weights)
        frames_of_batch(self)

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"


def loss_terms(expression: str) -> list[tuple[float, str]]:
    """Splits a sum of losses: "dice+0.5*lovasz" -> [(1.0, "dice"), (0.5, "lovasz")].

    Names are kseg.model_names.LOSSES, weights are numbers above 0. Raises InputError for anything
    else.
    """
    terms = []
    for term in expression.split("+"):
        weight, _, name = term.rpartition("*")
        number = _finite_number(weight) if "*" in term else 1.0
        if number is None or number <= 0 or name.strip() not in LOSSES:
            expected = f"a sum such as dice+0.5*cross_entropy, of {', '.join(LOSSES)}"
            raise InputError(f"'loss' is {expression!r}, expected {expected}")
        terms.append((number, name.strip()))
    return terms


def class_weight_numbers(text: str) -> list[float] | Literal["auto"] | None:
    """Parses class_weights of a Config: "none" -> None, "auto" -> "auto", "1,2.5" -> [1.0, 2.5]."""
    if text == "none":
        return None
    if text == "auto":
        return "auto"
    words = text.replace(",", " ").split()
    numbers = [number for word in words if (number := _finite_number(word)) is not None]
    valid = len(numbers) == len(words) and all(n >= 0 for n in numbers) and sum(numbers) > 0
    expected = "none, auto, or one number per class such as 1,2.5,0.5"
    _require(valid, "class_weights", text, expected)
    return numbers


def frames_of_batch(config: Config) -> list[int]:
    """Returns how many frames of a batch are of config.data and of each of config.also.

    Raises InputError when none would be of config.data.
    """
    others = [class_map.parse(text) for text in config.also]
    equal = config.batch_size // (len(others) + 1)
    counts = [equal if also.frames is None else also.frames for also in others]
    main = config.batch_size - sum(counts)
    if main < 1 or not all(counts):
        listed = ", ".join(f"{n} of {also.data}" for n, also in zip(counts, others, strict=True))
        raise InputError(
            f"--also: a batch of {config.batch_size} frames has no room for {listed} and at least "
            f"1 of {config.data}; use fewer, or a larger --batch-size"
        )
    return [main, *counts]


def _finite_number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def read(path: str | os.PathLike[str]) -> Config:
    """Reads a config file; missing keys get their defaults. Raises InputError naming the key."""
    return merge(Config(), read_values(path), where=str(path))


def read_values(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads a JSON object of config keys. Raises InputError."""
    try:
        values = json.loads(Path(path).read_text())
    except OSError as error:
        raise InputError(f"{path}: config file cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected a JSON object of config keys")
    return values


def merge(config: Config, values: Mapping[str, Any], where: str = "config") -> Config:
    """Returns config with `values` replaced. Raises InputError for an unknown key or bad value."""
    known = {spec.name: spec for spec in dataclasses.fields(Config)}
    for key in values:
        if key not in known:
            matches = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f"did you mean '{matches[0]}'?" if matches else f"keys: {', '.join(known)}"
            raise InputError(f"{where}: unknown key '{key}'; {hint}")
    typed = {key: _from_json(known[key], value) for key, value in values.items()}
    try:
        return dataclasses.replace(config, **typed)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def difference(before: Config, now: Config) -> str:
    """Describes how two Configs differ: "epochs 3 then, 5 now; ..."; "" if they are equal.

    mixed_precision auto now is what it was then, because a run keeps its first choice.
    """
    if now.mixed_precision == "auto":
        now = dataclasses.replace(now, mixed_precision=before.mixed_precision)
    old, new = json.loads(before.to_json()), json.loads(now.to_json())
    changed = (key for key in new if old[key] != new[key])
    return "; ".join(f"{key} {old[key]} then, {new[key]} now" for key in changed)


def kind_of(spec: dataclasses.Field) -> Any:
    """Returns the type of a Config field: bool, int, float, str or tuple."""
    return typing.get_origin(spec.type) or spec.type


def _from_json(spec, value):
    """Converts a JSON value to the field's type: JSON has no tuples, and writes 1.0 as 1."""
    kind = kind_of(spec)
    if kind is tuple and isinstance(value, list):
        return tuple(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


def _check_field(spec, value):
    kind = kind_of(spec)
    ok = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    expected = kind.__name__
    if spec.name == "also":
        ok, expected = ok and all(type(v) is str for v in value), "a list of texts"
    elif kind is tuple:
        ok, expected = ok and len(value) == 2 and all(type(v) is int for v in value), "two integers"
    _require(ok, spec.name, value, expected)
    choices = spec.metadata["choices"]
    _require(not choices or value in choices, spec.name, value, f"one of {choices}")
    names = spec.metadata["names"]
    if names and value not in names:
        raise InputError(
            f"unknown {spec.name} '{value}'; {nearest(value, names)} (see --help for all)"
        )
    for word, bound in spec.metadata["bounds"].items():
        _require(_BOUNDS[word](value, bound), spec.name, value, f"{word.replace('_', ' ')} {bound}")


# Comparisons with NaN are false, so NaN satisfies none of them.
_BOUNDS = {
    "at_least": operator.ge,
    "above": operator.gt,
    "at_most": operator.le,
    "below": operator.lt,
}


def _require(condition, name, got, expected):
    if not condition:
        raise InputError(f"'{name}' is {got!r}, expected {expected}")
