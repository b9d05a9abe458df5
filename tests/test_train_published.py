"""scripts/train_published.py: its recipes."""

import shlex
import sys

import pytest

from kseg import presets, run_folder, train
from kseg.labels import BDD100K_DRIVABLE, CAMVID_ROAD, IDD_7, IDD_ROAD
from kseg.manifest import Manifest, Split
from kseg.mixture import read_mixture
from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "scripts"))

import train_published

LABELS = {
    "bdd100k-180x320": BDD100K_DRIVABLE,
    "idd-7-96x160": IDD_7,
    "idd-road-180x320": IDD_ROAD,
    "camvid-road-180x320": CAMVID_ROAD,
}


@pytest.mark.parametrize("name", train_published.RECIPES)
def test_the_flags_of_every_stage_are_valid(tmp_path, name):
    recipe = train_published.RECIPES[name]
    for data, labels in LABELS.items():
        (tmp_path / data).mkdir()
        request = {"size": [180, 320], "fit": "letterbox"}
        splits = {"train": Split(80, (1,) * len(labels.classes), 0, ())}
        manifest = Manifest(data, labels, (180, 320), splits, request)
        (tmp_path / data / "manifest.json").write_text(manifest.to_json())
    paths = {"weights": "weights.h5", "records": tmp_path, "runs": tmp_path / "runs"}
    for run, stage in recipe.stages.items():
        flags = shlex.split(stage.flags.format(**paths))
        argv = ["--data", str(tmp_path / stage.data), "--out", str(tmp_path / "runs" / run)]
        config = presets.resolve(train._parser().parse_args([*argv, *flags]))
        manifest = Manifest(stage.data, LABELS[stage.data], (180, 320), {}, request)
        assert len(read_mixture(config, manifest).parts) == 1 + len(config.also)
        run_folder.start_run(tmp_path / "runs" / run, config, manifest)
        (tmp_path / "runs" / run / run_folder.BEST).touch()
    assert run == name and set(recipe.elsewhere) < LABELS.keys()
