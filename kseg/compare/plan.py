"""The rows of a comparison: models, an ablation or existing runs. Standard library only."""

import dataclasses
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from kseg import config as configs
from kseg import init_source
from kseg.config import Config, kind_of, merge
from kseg.errors import InputError
from kseg.labels import LabelSet
from kseg.manifest import Manifest, read_manifest
from kseg.mixture import read_mixture

# The five models of the course, in the order of its table.
COURSE_MODELS = (
    "unet",
    "fcn_resnet50",
    "deeplab_v3_plus_resnet50",
    "pspnet_resnet50",
    "segformer_b3",
)

# {ablation: {row: changes to the Config}}; everything else is the same in every row.
ABLATIONS: dict[str, dict[str, dict[str, Any]]] = {
    "loss": {
        "cross_entropy": {"loss": "cross_entropy", "class_weights": "none"},
        "weighted_cross_entropy": {"loss": "cross_entropy", "class_weights": "auto"},
        "focal": {"loss": "focal", "class_weights": "none"},
        "dice": {"loss": "dice", "class_weights": "none"},
        "log_dice": {"loss": "log_dice", "class_weights": "none"},
        "tversky": {"loss": "tversky", "class_weights": "none"},
    },
    "schedule": {
        "one_cycle": {"schedule": "one_cycle", "warmup_steps": 0},  # One-cycle has its own warm-up.
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
    """One row of the comparison."""

    name: str
    run: Path  # Run folder.
    config: Config
    results: Path  # Folder for its evaluation and export.
    trains: bool  # False for a run that existed before.


def from_models(texts: Iterable[str], config: Config, out: Path) -> list[Row]:
    """Returns rows for [NAME=]MODEL[:KEY=VALUE,...], each trained into OUT/NAME.

    Rows share `config` except for their own settings. NAME defaults to MODEL. Raises InputError on
    invalid settings and duplicate names.
    """
    rows = []
    for text in texts:
        target, _, settings = text.partition(":")
        name, equals, model = target.rpartition("=")
        changes = {"model": model} | _settings(settings, text)
        rows.append(_row_to_train(name if equals else model, changes, config, out, f"'{text}'"))
    return _check_unique_names(rows)


def from_ablation(kind: str, config: Config, out: Path) -> list[Row]:
    """Returns the rows of one of ABLATIONS, each trained into OUT/NAME. Raises InputError."""
    if kind == "encoder" and config.encoder_weights == "none":
        raise InputError(
            "--ablation encoder: compares uses of a pretrained encoder; give --encoder-weights"
        )
    return [
        _row_to_train(name, changes, config, out, f"--ablation {kind}, {name}")
        for name, changes in ABLATIONS[kind].items()
    ]


def from_runs(texts: Iterable[str], out: Path, data: str | None = None) -> list[Row]:
    """Returns rows for [NAME=]RUN, existing run folders; their results go to OUT/NAME.

    data: the data set to measure all on (default: each run's own). Raises InputError where one is
    not a trained run, or has other classes than the first.
    """
    rows: list[Row] = []
    first: tuple[Path, LabelSet] | None = None
    for text in texts:
        name, equals, path = ("", "", text) if Path(text).is_dir() else text.rpartition("=")
        run = Path(path)
        if not (run / "config.json").is_file() or not (run / "best.weights.h5").is_file():
            raise InputError(
                f"{run}: not a trained run, config.json or best.weights.h5 is missing; train one "
                "with python -m kseg.train"
            )
        config = configs.read(run / "config.json")
        config = dataclasses.replace(config, data=data or config.data)
        labels = LabelSet.from_dict(configs.read_values(run / "labels.json"), where=str(run))
        first = first or (run, labels)
        if labels.names != first[1].names:
            raise InputError(
                f"{run}: has classes {labels.names}, but {first[0]} has {first[1].names}; compare "
                "runs with the same classes"
            )
        name = name if equals else run.resolve().name
        rows.append(Row(_checked_name(name), run, config, out / name, trains=False))
    return _check_unique_names(rows)


def choose_split(rows: Iterable[Row], split: str | None = None) -> tuple[str, int]:
    """Returns (split, number of frames): `split` if given, else test if all data has it, else val.

    Raises InputError where the split is missing, or where rows would be measured on different
    frames.
    """
    manifests = {row.config.data: read_manifest(row.config.data) for row in rows}
    if split is None:
        split = "test" if all(_frames(m, "test") for m in manifests.values()) else "val"
    data_sets: dict[tuple[str, int, str], str] = {}
    for data, manifest in manifests.items():
        if not _frames(manifest, split):
            raise InputError(f"{data}: no split '{split}'; it has {', '.join(manifest.splits)}")
        # Builds of other sizes have the same frames; others may differ in nothing but the seed.
        choice = {k: v for k, v in manifest.request.items() if k not in ("size", "fit")}
        key = (manifest.dataset, _frames(manifest, split), json.dumps(choice, sort_keys=True))
        data_sets.setdefault(key, data)
    if len(data_sets) > 1:
        listed = " and ".join(
            f"{data} ({dataset}, {count} frames)" for (dataset, count, _), data in data_sets.items()
        )
        raise InputError(
            f"rows would be measured on different frames: {listed}; choose one data set with --data"
        )
    return split, next(iter(data_sets))[1]


def check_runs(rows: Iterable[Row]) -> None:
    """Raises InputError where OUT/NAME has a run with another config or other data than the row."""
    for row in rows:
        path = row.run / "config.json"
        if not row.trains or not path.is_file():
            continue
        changed = configs.difference(configs.read(path), row.config)
        if changed:
            raise InputError(
                f"{row.run}: has a run with another config ({changed}); use the same config, "
                "choose another --out or another name (NAME=MODEL), or remove the folder"
            )
        request = read_mixture(row.config).request
        if configs.read_values(row.run / "data.json") != request:
            raise InputError(
                f"{row.run}: {row.config.data} has been rebuilt from other files since the run was "
                "trained; choose another --out or remove the folder"
            )


def own_settings(rows: Iterable[Row]) -> list[str]:
    """Returns for each row the settings that differ between rows, as in "loss=focal, epochs=3"."""
    values = [dataclasses.asdict(row.config) for row in rows]
    differing = [key for key in values[0] if any(v[key] != values[0][key] for v in values)]
    return [", ".join(f"{key}={v[key]}" for key in differing if key != "model") for v in values]


def _frames(manifest: Manifest, split: str) -> int:
    return manifest.splits[split].examples if split in manifest.splits else 0


def _row_to_train(name, changes, config, out, where):
    if changes.get("init", "none") != "none":
        taken = init_source.architecture(changes["init"], out / name)
        changes = {"encoder_weights": "none"} | taken | changes
    config = merge(config, changes, where=where)
    return Row(_checked_name(name), out / name, config, out / name, trains=True)


def _checked_name(name):
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*", name):
        raise InputError(
            f"'{name}': a row's name has only letters, digits and _ . + -; give "
            "it one, as in NAME=RUN or NAME=MODEL"
        )
    return name


def _check_unique_names(rows):
    """Returns the rows. Raises InputError when two have the same name."""
    names = [row.name for row in rows]
    for row in rows:
        if names.count(row.name) > 1:
            raise InputError(
                f"two rows are named '{row.name}'; rename one, as in {row.name}-2="
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
        # merge() reports an unknown key, with the nearest known one.
        values[key] = _value(known[key], value, where) if key in known else value
    return values


def _value(spec, text, where):
    kind = kind_of(spec)
    try:
        if spec.name == "also":
            return (text,) if text else ()
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        if kind is tuple:
            return tuple(int(side) for side in text.split("x"))
        return kind(text)
    except (KeyError, ValueError) as error:
        expected = {bool: "true or false", tuple: "HEIGHTxWIDTH"}.get(kind, kind.__name__)
        raise InputError(f"'{where}': '{spec.name}' is '{text}', expected {expected}") from error
