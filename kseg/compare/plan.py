"""The rows of a comparison, from models, an ablation or finished runs. Standard library only."""

import dataclasses
import re
from pathlib import Path
from typing import NamedTuple

from kseg import config as configs
from kseg.config import Config, kind_of, merge
from kseg.errors import InputError
from kseg.labels import LabelSet
from kseg.manifest import read_manifest

# The course's five, in the order of its table.
COURSE_MODELS = (
    "unet",
    "fcn_resnet50",
    "deeplab_v3_plus_resnet50",
    "pspnet_resnet50",
    "segformer_b3",
)

# {ablation: {row: what it changes}}; all else is the same in every row.
ABLATIONS = {
    "loss": {
        "cross_entropy": {"loss": "cross_entropy", "class_weights": "none"},
        "weighted_cross_entropy": {"loss": "cross_entropy", "class_weights": "auto"},
        "focal": {"loss": "focal", "class_weights": "none"},
        "dice": {"loss": "dice", "class_weights": "none"},
        "log_dice": {"loss": "log_dice", "class_weights": "none"},
        "tversky": {"loss": "tversky", "class_weights": "none"},
    },
    "schedule": {
        "one_cycle": {"schedule": "one_cycle", "warmup_steps": 0},  # It has a rise of its own.
        "poly": {"schedule": "poly"},
        "cosine": {"schedule": "cosine"},
        "constant": {"schedule": "constant"},
    },
    "encoder": {
        "from_scratch": {"encoder_weights": "none", "freeze_encoder": False},
        "frozen": {"freeze_encoder": True},
        "fine_tuned": {"freeze_encoder": False},
    },
}


class Row(NamedTuple):
    """One row: the run folder, its Config, the folder of its results, whether it is trained."""

    name: str
    run: Path
    config: Config
    results: Path
    trains: bool


def from_models(texts, config, out):
    """Rows of [NAME=]MODEL[:KEY=VALUE,...], each trained into OUT/NAME, else alike.

    NAME is the model's unless given. Raises InputError on what is no Config, and on two rows of
    one name.
    """
    rows = []
    for text in texts:
        head, _, settings = text.partition(":")
        name, equals, model = head.rpartition("=")
        changes = {"model": model} | _settings(settings, text)
        rows.append(_trained(name if equals else model, changes, config, out, f"'{text}'"))
    return _apart(rows)


def from_ablation(kind, config, out):
    """Rows of one of ABLATIONS, each trained into OUT/NAME. Raises InputError."""
    if kind == "encoder" and config.encoder_weights == "none":
        raise InputError(
            "--ablation encoder: needs trained weights to freeze or not; give --encoder-weights"
        )
    return [
        _trained(name, changes, config, out, f"--ablation {kind}, {name}")
        for name, changes in ABLATIONS[kind].items()
    ]


def from_runs(texts, out, data=None):
    """Rows of [NAME=]RUN, run folders that exist; their results go to OUT/NAME.

    data: the data set to measure all on, instead of their own. Raises InputError where one is no
    trained run or has other classes than the first.
    """
    rows, first = [], None
    for text in texts:
        name, equals, path = ("", "", text) if Path(text).is_dir() else text.rpartition("=")
        run = Path(path)
        if not (run / "config.json").is_file() or not (run / "best.weights.h5").is_file():
            raise InputError(
                f"{run}: no config.json and best.weights.h5 here, so this is no trained run; "
                "python -m kseg.train makes one"
            )
        config = configs.read(run / "config.json")
        config = dataclasses.replace(config, data=data or config.data)
        labels = LabelSet.from_dict(configs.read_values(run / "labels.json"), where=run)
        first = first or (run, labels)
        if labels.names != first[1].names:
            raise InputError(
                f"{run}: its classes are {labels.names}, those of {first[0]} {first[1].names}; a "
                "comparison holds runs of the same classes"
            )
        name = name if equals else run.resolve().name
        rows.append(Row(_checked_name(name), run, config, out / name, trains=False))
    return _apart(rows)


def choose_split(rows, asked=None):
    """Returns (split, frames): `asked`, else test where the data has one, else val.

    Raises InputError where the split is missing, or rows would be measured on different frames.
    """
    manifests = {row.config.data: read_manifest(row.config.data) for row in rows}
    split = asked or ("test" if all(_frames(m, "test") for m in manifests.values()) else "val")
    found = {}
    for data, manifest in manifests.items():
        if not _frames(manifest, split):
            raise InputError(f"{data}: no split '{split}'; it has {', '.join(manifest.splits)}")
        found.setdefault((manifest.dataset, _frames(manifest, split)), data)
    if len(found) > 1:
        told = " and ".join(
            f"{data} ({dataset}, {count} frames)" for (dataset, count), data in found.items()
        )
        raise InputError(
            f"rows would be measured on other frames: {told}; name one for all by --data"
        )
    return split, next(iter(found))[1]


def check_runs(rows):
    """Raises InputError where OUT/NAME holds a run that is not the one the row asks for."""
    for row in rows:
        path = row.run / "config.json"
        if not row.trains or not path.is_file():
            continue
        changed = configs.difference(configs.read(path), row.config)
        if changed:
            raise InputError(
                f"{row.run}: holds a run with another config ({changed}); ask for the same, choose "
                "another --out or another name (NAME=MODEL), or remove it first"
            )
        request = read_manifest(row.config.data).request
        if configs.read_values(row.run / "data.json") != request:
            raise InputError(
                f"{row.run}: {row.config.data} was built anew from other files since it was "
                "trained; choose another --out or remove it first"
            )


def own_settings(rows):
    """Says for each row which settings it has that not all have: "loss=focal, epochs=3"."""
    values = [dataclasses.asdict(row.config) for row in rows]
    differing = [key for key in values[0] if any(v[key] != values[0][key] for v in values)]
    return [", ".join(f"{key}={v[key]}" for key in differing if key != "model") for v in values]


def _frames(manifest, split):
    return manifest.splits[split].examples if split in manifest.splits else 0


def _trained(name, changes, config, out, where):
    config = merge(config, changes, where=where)
    return Row(_checked_name(name), out / name, config, out / name, trains=True)


def _checked_name(name):
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*", name):
        raise InputError(f"'{name}': expected a row's name of letters, digits and _ . + -")
    return name


def _apart(rows):
    names = [row.name for row in rows]
    for row in rows:
        if names.count(row.name) > 1:
            raise InputError(
                f"two rows are named '{row.name}'; name them apart, as in {row.name}-2="
                f"{row.config.model if row.trains else row.run}"
            )
    return rows


def _settings(text, where):
    """ "epochs=3,size=97x161" -> {"epochs": 3, "size": (97, 161)}. Raises InputError."""
    known = {spec.name: spec for spec in dataclasses.fields(Config)}
    values = {}
    for setting in filter(None, text.split(",")):
        key, equals, value = setting.partition("=")
        if not equals or key == "model":
            raise InputError(f"'{where}': expected [NAME=]MODEL[:KEY=VALUE,...], got '{setting}'")
        # merge names the nearest of an unknown key.
        values[key] = _value(known[key], value, where) if key in known else value
    return values


def _value(spec, text, where):
    kind = kind_of(spec)
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        if kind is tuple:
            return tuple(int(side) for side in text.split("x"))
        return kind(text)
    except (KeyError, ValueError) as error:
        expected = {bool: "true or false", tuple: "HEIGHTxWIDTH"}.get(kind, kind.__name__)
        raise InputError(f"'{where}': '{spec.name}' is '{text}', expected {expected}") from error
