"""Everything that decides what a training run computes, as one frozen value.

Written to RUN/config.json before the first step; its hash travels into the exported model.
kseg.presets makes one from a preset, a file and flags. Standard library only.
"""

import dataclasses
import difflib
import hashlib
import json
import math
import operator
import typing
from dataclasses import dataclass, field
from pathlib import Path

from kseg.errors import InputError, nearest
from kseg.model_names import ENCODERS, FAMILIES, LOSSES, MODELS


def _field(default, help, choices=None, names=None, **bounds):
    """A field with its help text; bounds: at_least, above, at_most, below.

    choices: few, listed by --help as they are; names: too many for that, `help` sums them up.
    """
    metadata = {"help": help, "choices": choices, "names": names, "bounds": bounds}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Config:
    """One training run. Every number that changes its result is a field."""

    data: str = _field("data/demo-144x256", "TFRecord folder made by tfrecords_tools.build")
    size: tuple[int, int] = _field((144, 256), "model input, height and width")
    fit: str = _field(
        "letterbox", "how frames of another shape are fitted", ("letterbox", "stretch", "crop")
    )
    model: str = _field(
        "deeplab_v3_plus_mobilenet_v2",
        "unet, from scratch; segformer_b0 to segformer_b5; segformer_b0_edge and "
        "deeplab_v3_plus_mobilenet_edge, half the arithmetic; or FAMILY_ENCODER: "
        f"{', '.join(FAMILIES)} on {', '.join(ENCODERS)}",
        names=MODELS,
    )
    encoder_alpha: float = _field(
        1.0, "width multiplier of MobileNets (others: not used)", at_least=0.05, at_most=2
    )
    output_stride: int = _field(
        16,
        "input pixels per encoder output pixel (unet and SegFormer: not used)",
        (8, 16, 32),
    )
    decoder_channels: int = _field(
        0,
        "width of the head (unet: of its first level; U-Net on an encoder: of stride 16), 0: as "
        "published",
        at_least=0,
    )
    encoder_weights: str = _field(
        "none",
        "none; imagenet (all but unet and SegFormer) or ade20k, cityscapes (SegFormer), downloaded "
        "once; or a .weights.h5 file",
    )
    freeze_encoder: bool = _field(False, "train the head only")
    auxiliary_weight: float = _field(
        0.0,
        "weight of the loss of a second head on the encoder's stage before the last, for training "
        "only (FCN, PSPNet: 0.4 in PSPNet's paper), 0: off",
        at_least=0,
    )
    loss: str = _field(
        "log_dice",
        f"training loss, on logits: a sum such as dice+0.5*lovasz of {', '.join(LOSSES)}",
    )
    class_weights: str = _field(
        "none", "none; auto (median frequency balancing); or one number per class"
    )
    focal_gamma: float = _field(2.0, "exponent of the focal loss", at_least=0)
    tversky_beta: float = _field(
        0.7, "Tversky losses: weight of missed pixels, 1 - it of invented ones", above=0, below=1
    )
    batch_size: int = _field(8, "images per step", at_least=1)
    epochs: int = _field(12, "passes over the training split", at_least=1)
    patience: int = _field(
        0, "stop after so many epochs without a better validation mean IoU, 0: off", at_least=0
    )
    optimizer: str = _field("adam", "adam, adamw or sgd", ("adam", "adamw", "sgd"))
    weight_decay: float = _field(
        0.0, "adamw: decoupled; sgd: L2; norms and biases have none", at_least=0
    )
    momentum: float = _field(0.9, "momentum of sgd", at_least=0, below=1)
    learning_rate: float = _field(3e-4, "highest learning rate of the schedule", above=0)
    encoder_learning_rate_factor: float = _field(
        1.0, "the encoder's learning rate as a multiple of learning_rate", above=0, at_most=1
    )
    schedule: str = _field(
        "one_cycle", "learning rate by step", ("one_cycle", "poly", "cosine", "constant")
    )
    poly_power: float = _field(0.9, "exponent of the poly schedule", above=0)
    warmup_steps: int = _field(
        0, "steps of linear rise from 0 before poly, cosine and constant", at_least=0
    )
    gradient_accumulation_steps: int = _field(
        1, "batches whose gradients are averaged before one update", at_least=1
    )
    clip_norm: float = _field(
        1.0, "gradients of a larger global norm are scaled down to it, 0: off", at_least=0
    )
    ema_momentum: float = _field(
        0.0,
        "exponential moving average of the weights, validated and kept as the best; 0.999: the "
        "last thousand steps, 0: off",
        at_least=0,
        below=1,
    )
    mixed_precision: str = _field(
        "off", "compute in 16 bits; weights and loss stay float32", ("off", "float16", "bfloat16")
    )
    flip: bool = _field(True, "mirror half of the training images")
    scale_min: float = _field(
        1.0, "random zoom from here (below 1: smaller, with ignored bars) ...", at_least=0.25
    )
    scale_max: float = _field(1.0, "... to here, then a random crop; 1 and 1: off", at_most=4)
    color_jitter: float = _field(
        0.2, "random brightness, contrast and saturation, 0: off", at_least=0, below=1
    )
    weather: float = _field(
        0.0,
        "share of training images with fog, night, rain, blur or JPEG artefacts drawn in, 0: off",
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
            "0 with schedule one_cycle, which has a rise of its own",
        )
        _require(
            not (self.weight_decay and self.optimizer == "adam"),
            "weight_decay",
            self.weight_decay,
            "0 with optimizer adam; take adamw",
        )
        loss_terms(self.loss)
        class_weight_numbers(self.class_weights)

    def to_json(self):
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    def hash(self):
        """First 12 hex digits of the SHA-256 of the JSON form."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:12]


def loss_terms(expression):
    """Splits a sum of losses: "dice+0.5*lovasz" -> [(1.0, "dice"), (0.5, "lovasz")].

    Names are LOSSES, weights numbers above 0. Raises InputError on anything else.
    """
    terms = []
    for term in expression.split("+"):
        weight, _, name = term.rpartition("*")
        number = _number(weight) if "*" in term else 1.0
        _require(
            number is not None and number > 0 and name.strip() in LOSSES,
            "loss",
            expression,
            f"a sum such as dice+0.5*cross_entropy, of {', '.join(LOSSES)}",
        )
        terms.append((number, name.strip()))
    return terms


def class_weight_numbers(words):
    """Reads a Config's class_weights: "none" -> None, "auto" -> "auto", "1,2.5" -> [1.0, 2.5]."""
    if words in ("none", "auto"):
        return None if words == "none" else "auto"
    numbers = [_number(word) for word in words.replace(",", " ").split()]
    _require(
        numbers and all(n is not None and n >= 0 for n in numbers) and sum(numbers) > 0,
        "class_weights",
        words,
        "none, auto, or one number per class such as 1,2.5,0.5",
    )
    return numbers


def _number(text):
    """A finite float, or None."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def read(path):
    """Reads a config file; missing keys have their defaults. Raises InputError naming the key."""
    return merge(Config(), read_values(path), where=str(path))


def read_values(path):
    """Reads a JSON object of config keys. Raises InputError."""
    try:
        values = json.loads(Path(path).read_text())
    except OSError as error:
        raise InputError(f"{path}: config file cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise InputError(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected a JSON object of config keys")
    return values


def merge(config, values, where="config"):
    """Returns config with `values` put in. Raises InputError on an unknown key or a bad value."""
    known = {spec.name: spec for spec in dataclasses.fields(Config)}
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(known)}"
            raise InputError(f"{where}: unknown key '{key}'; {hint}")
    coerced = {key: _coerce(known[key], value) for key, value in values.items()}
    try:
        return dataclasses.replace(config, **coerced)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def difference(before, now):
    """Says in which keys two Configs differ: "epochs 3 then, 5 now; ..."; "" where in none."""
    before, now = json.loads(before.to_json()), json.loads(now.to_json())
    changed = (key for key in now if before[key] != now[key])
    return "; ".join(f"{key} {before[key]} then, {now[key]} now" for key in changed)


def kind_of(spec):
    """Type of a Config field: bool, int, float, str or tuple."""
    return typing.get_origin(spec.type) or spec.type


def _coerce(spec, value):
    """JSON has no tuples and writes 1.0 as 1."""
    kind = kind_of(spec)
    if kind is tuple and isinstance(value, list):
        return tuple(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


def _check_field(spec, value):
    kind = kind_of(spec)
    ok = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    if kind is tuple:
        ok = ok and len(value) == 2 and all(type(v) is int for v in value)
    _require(ok, spec.name, value, "two integers" if kind is tuple else kind.__name__)
    choices = spec.metadata["choices"]
    _require(not choices or value in choices, spec.name, value, f"one of {choices}")
    names = spec.metadata["names"]
    if names and value not in names:
        raise InputError(
            f"unknown {spec.name} '{value}'; {nearest(value, names)} (--help tells all)"
        )
    for word, bound in spec.metadata["bounds"].items():
        _require(_BOUNDS[word](value, bound), spec.name, value, f"{word.replace('_', ' ')} {bound}")


# Comparisons with NaN are false, so NaN keeps none.
_BOUNDS = {
    "at_least": operator.ge,
    "above": operator.gt,
    "at_most": operator.le,
    "below": operator.lt,
}


def _require(condition, name, got, expected):
    if not condition:
        raise InputError(f"'{name}' is {got!r}, expected {expected}")
