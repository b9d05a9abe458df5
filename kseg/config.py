"""Everything that decides what a training run computes, as one frozen value.

    defaults < preset < --config run.json < flags

`resolve` merges them once; the result is written to RUN/config.json before the first step and
its hash travels into the exported model. Standard library only.
"""

import argparse
import dataclasses
import difflib
import hashlib
import json
import typing
from dataclasses import dataclass, field
from pathlib import Path

from kseg.errors import InputError, nearest

# Names of kseg.models.MODELS, which this file may not import: it answers --help without Keras.
FAMILIES = ("fcn", "unet", "pspnet", "deeplab_v3_plus")
ENCODERS = (
    "resnet50",
    "resnet101",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    *(f"efficientnet_v2_b{number}" for number in range(4)),
)
MODELS = (
    "unet",
    *(f"{family}_{encoder}" for family in FAMILIES for encoder in ENCODERS),
    "deeplab_v3_plus_mobilenet_edge",
    *(f"segformer_b{number}" for number in range(6)),
    "segformer_b0_edge",
)


def _field(default, help, choices=None, names=None):
    """choices: few, listed by --help as they are; names: too many for that, `help` sums them up."""
    return field(default=default, metadata={"help": help, "choices": choices, "names": names})


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
    encoder_alpha: float = _field(1.0, "width multiplier of MobileNets (others: not used)")
    output_stride: int = _field(
        16,
        "input pixels per encoder output pixel (unet and SegFormer: not used)",
        (8, 16, 32),
    )
    decoder_channels: int = _field(
        0,
        "width of the head (unet: of its first level; U-Net on an encoder: of stride 16), 0: as "
        "published",
    )
    encoder_weights: str = _field(
        "none",
        "none; imagenet (all but SegFormer) or ade20k, cityscapes (SegFormer), downloaded once; "
        "or a .weights.h5 file",
    )
    freeze_encoder: bool = _field(False, "train the head only")
    loss: str = _field(
        "log_dice", "training loss, on logits", ("log_dice", "dice", "cross_entropy")
    )
    batch_size: int = _field(8, "images per step")
    epochs: int = _field(12, "passes over the training split")
    learning_rate: float = _field(3e-4, "peak of the one-cycle schedule (Adam)")
    clip_norm: float = _field(
        1.0, "gradients of a larger global norm are scaled down to it, 0: off"
    )
    flip: bool = _field(True, "mirror half of the training images")
    scale_min: float = _field(
        1.0, "random zoom from here (below 1: smaller, with ignored bars) ..."
    )
    scale_max: float = _field(1.0, "... to here, then a random crop; 1 and 1: off")
    color_jitter: float = _field(0.2, "random brightness, contrast and saturation, 0: off")
    seed: int = _field(0, "seed of weights, data order and augmentation")

    def __post_init__(self):
        for spec in dataclasses.fields(self):
            _check_field(spec, getattr(self, spec.name))
        _require(min(self.size) >= 32, "size", self.size, "at least 32 x 32")
        for name, least in (("batch_size", 1), ("epochs", 1), ("decoder_channels", 0)):
            _require(getattr(self, name) >= least, name, getattr(self, name), f"at least {least}")
        _require(self.clip_norm >= 0, "clip_norm", self.clip_norm, "0 or more")
        _require(0 <= self.seed < 2**31, "seed", self.seed, "0 up to 2**31")
        _require(self.learning_rate > 0, "learning_rate", self.learning_rate, "above 0")
        _require(0.05 <= self.encoder_alpha <= 2, "encoder_alpha", self.encoder_alpha, "0.05 to 2")
        _require(0 <= self.color_jitter < 1, "color_jitter", self.color_jitter, "0 up to 1")
        _require(
            0.25 <= self.scale_min <= self.scale_max <= 4,
            "scale_min, scale_max",
            (self.scale_min, self.scale_max),
            "0.25 <= scale_min <= scale_max <= 4",
        )

    def to_json(self):
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    def hash(self):
        """First 12 hex digits of the SHA-256 of the JSON form."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:12]


def demo():
    """The demo set, sized for minutes on two cores (README has measured numbers)."""
    return dataclasses.replace(
        Config(),
        encoder_alpha=0.35,
        output_stride=16,
        decoder_channels=64,
        epochs=28,
        learning_rate=2e-3,
    )


def camvid():
    """CamVid as road / pavement / rest (tfrecords_tools.build --source camvid --task road).

    Add --encoder-weights imagenet, or a file. README has the measured accuracy.
    """
    return dataclasses.replace(
        Config(),
        data="data/camvid-240x320",
        size=(240, 320),
        encoder_alpha=0.35,
        output_stride=16,
        decoder_channels=128,
        epochs=30,
        learning_rate=2e-3,
        clip_norm=0.0,
        scale_min=0.75,
        scale_max=1.5,
    )


def course():
    """The course's protocol: 320x180, batch 8, Adam 3e-4, one-cycle, 12 epochs, log-Dice.

    For any family: --preset course --model NAME. The course published these test mean IoUs (3
    classes, 3,430 BDD100K frames split 2401/686/343): unet 65.4, fcn_resnet50 69.6,
    deeplab_v3_plus_resnet50 73.1, pspnet_resnet50 75.5, segformer_b3 77.1, its best and the default
    here. None has been repeated with this code yet.
    Data: tfrecords_tools.build --source bdd100k --size 180 320 --limit 3430 --split 0.7 0.2 0.1.
    """
    return dataclasses.replace(
        Config(),
        data="data/course",
        size=(180, 320),
        model="segformer_b3",
        color_jitter=0.0,
        clip_norm=0.0,
    )


PRESETS = {"demo": demo, "camvid": camvid, "course": course}


def read(path):
    """Reads a config file; missing keys have their defaults. Raises InputError naming the key."""
    return merge(Config(), _read_values(path), where=str(path))


def _read_values(path):
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


def add_flags(parser):
    """Adds --preset, --config and one flag per Config field, each described in --help."""
    presets = "; ".join(f"{n}: {f.__doc__.splitlines()[0]}" for n, f in PRESETS.items())
    parser.add_argument("--preset", choices=PRESETS, default="demo", help=f"start from {presets}")
    parser.add_argument("--config", metavar="JSON", help="config file over the preset")
    group = parser.add_argument_group("config (each overrides the preset and the config file)")
    for spec in dataclasses.fields(Config):
        _add_flag(group, spec)


def resolve(args):
    """Merges preset, config file and flags of parsed `args` into one Config."""
    config = PRESETS[args.preset]()
    if args.config:
        config = merge(config, _read_values(args.config), where=args.config)
    names = [spec.name for spec in dataclasses.fields(Config)]
    flags = {n: getattr(args, n) for n in names if getattr(args, n) is not None}
    return merge(config, flags, where="flags")


def _add_flag(group, spec):
    flag, kind = "--" + spec.name.replace("_", "-"), _kind(spec)
    text = f"{spec.metadata['help']} (demo: {_shown(getattr(demo(), spec.name))})"
    if kind is bool:
        group.add_argument(flag, action=argparse.BooleanOptionalAction, default=None, help=text)
    elif kind is tuple:
        group.add_argument(
            flag, nargs=2, type=int, default=None, metavar=("HEIGHT", "WIDTH"), help=text
        )
    else:
        group.add_argument(
            flag,
            type=kind,
            default=None,
            choices=spec.metadata["choices"],
            metavar=None if spec.metadata["choices"] else kind.__name__.upper(),
            help=text,
        )


def _shown(default):
    return "x".join(map(str, default)) if isinstance(default, tuple) else default


def _kind(spec):
    return typing.get_origin(spec.type) or spec.type


def _coerce(spec, value):
    """JSON has no tuples and writes 1.0 as 1."""
    kind = _kind(spec)
    if kind is tuple and isinstance(value, list):
        return tuple(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


def _check_field(spec, value):
    kind = _kind(spec)
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


def _require(condition, name, got, expected):
    if not condition:
        raise InputError(f"'{name}' is {got!r}, expected {expected}")
