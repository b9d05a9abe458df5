"""Rebuilds the models that come with kseg from folders of their data sets.

    python scripts/train_published.py --model lanes --bdd100k DIR --idd DIR --camvid DIR \
        --weights mobilenet_v2_0.35_notop.weights.h5 --out DIR [--video FILE ...]

Builds the TFRecords, trains the stages of RECIPES, measures, exports, and writes the model's folder
to OUT/published/NAME, with its card; copied to kseg/published/NAME, it is published. The same
command continues after an interruption. --run RUN measures and exports a run that was trained
elsewhere. --weights: the encoder's, trained on ImageNet. lanes and road: MobileNetV2 with alpha
0.35, from keras.applications; the -base models: EfficientNet-Lite2, by kseg.import_weights.

exit codes: 0 done; 2 bad input; 3 the export was rejected
"""

import argparse
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import published_card

from kseg.errors import InputError, run
from tfrecords_tools.datasets import bdd100k, camvid, idd

LICENCES = {
    "BDD100K": bdd100k.CARD.license.removeprefix("BDD100K licence: "),
    "IDD": idd.CARD.license.removeprefix("IDD licence: "),
    "CamVid": camvid.CARD.license,
    "ImageNet": "non-commercial research and education",
}
COMMON = "--preset camvid --loss cross_entropy+dice --seed 0 --no-tensorboard"


class Records(NamedTuple):
    """A TFRecord folder: how kseg.build makes it."""

    source: str
    flags: str


class Stage(NamedTuple):
    """One training. {weights}, {records} and {runs} stand for paths."""

    data: str
    flags: str


class Recipe(NamedTuple):
    """How a model is trained. The last stage is published; its data set scores it.

    data: names of LICENCES. elsewhere: other data sets, on which drivable or not is scored.
    observations: what was seen in its predictions; all numbers of the card are measured.
    """

    summary: str
    data: tuple[str, ...]
    stages: dict[str, Stage]
    elsewhere: tuple[str, ...]
    observations: tuple[str, ...]


RECORDS = {
    "bdd100k-180x320": Records("bdd100k", "--size 180 320"),
    "idd-7-96x160": Records("idd", "--task 7 --size 96 160"),
    "idd-road-180x320": Records("idd", "--task road --size 180 320"),
    "camvid-road-180x320": Records("camvid", "--task road --size 180 320"),
}
# The first stage of the -base models.
LITE2_IDD = Stage(
    "idd-7-96x160",
    f"{COMMON} --model deeplab_v3_plus_efficientnet_lite2 --size 96 160 --epochs 6 "
    "--encoder-weights {weights}",
)
# BDD100K labels oncoming lanes as background, so its background says nothing about roads.
ROAD = (
    f"{COMMON} --size 180 320 --epochs 8 --ema-momentum 0.99 "
    "--also {records}/bdd100k-180x320 2 direct=drivable alternative=drivable *=ignore "
    "--also {records}/camvid-road-180x320 2 road=drivable *=background"
)
RECIPES = {
    "lanes": Recipe(
        "Direct and alternative lanes, as BDD100K labels them: the lane we drive in, lanes we "
        "could change to, and everything else. Oncoming lanes are background.",
        ("BDD100K", "IDD", "ImageNet"),
        {
            "lanes-idd": Stage(
                "idd-7-96x160",
                f"{COMMON} --size 96 160 --epochs 6 --encoder-weights {{weights}}",
            ),
            "lanes": Stage(
                "bdd100k-180x320",
                f"{COMMON} --size 180 320 --epochs 30 --ema-momentum 0.99 "
                "--init {runs}/lanes-idd",
            ),
        },
        ("idd-road-180x320", "camvid-road-180x320"),
        (
            "On a motorway, the hard shoulder is taken for an alternative lane.",
            "Close to the bonnet, the direct lane has holes in some frames.",
            "At night without street lights, the unlit ground beside the lane is taken for an "
            "alternative lane.",
        ),
    ),
    "lanes-base": Recipe(
        "Direct and alternative lanes, as BDD100K labels them: what lanes predicts, by a larger "
        "network. Oncoming lanes are background.",
        ("BDD100K", "IDD", "ImageNet"),
        {
            "lanes-base-idd": LITE2_IDD,
            "lanes-base": Stage(
                "bdd100k-180x320",
                f"{COMMON} --size 180 320 --epochs 30 --ema-momentum 0.99 "
                "--init {runs}/lanes-base-idd",
            ),
        },
        ("idd-road-180x320", "camvid-road-180x320"),
        (
            "On a motorway, the hard shoulder is taken for an alternative lane.",
            "On a country road, the oncoming lane and the gravel beside the road are in part taken "
            "for alternative lanes.",
            "At night without street lights, the unlit ground beside the lane is taken for an "
            "alternative lane.",
            "At a junction, all of the crossing is direct.",
        ),
    ),
    "road": Recipe(
        "Road or not, on three continents: IDD's drivable class, CamVid's road, and BDD100K's "
        "lanes. Oncoming lanes are road.",
        ("IDD", "BDD100K", "CamVid", "ImageNet"),
        {"road": Stage("idd-road-180x320", f"{ROAD} --encoder-weights {{weights}}")},
        ("bdd100k-180x320", "camvid-road-180x320"),
        (
            "On a country road, the oncoming lane was missed, and the gravel beside the road was "
            "taken for road.",
            "At night without street lights, the unlit ground beside the road is taken for road.",
            "In a street with raindrops on the windscreen, the ground beside the road is in part "
            "taken for road.",
        ),
    ),
    "road-base": Recipe(
        "Road or not, on three continents: what road predicts, by a larger network. Oncoming lanes "
        "are road.",
        ("IDD", "BDD100K", "CamVid", "ImageNet"),
        {
            "lanes-base-idd": LITE2_IDD,
            "road-base": Stage("idd-road-180x320", f"{ROAD} --init {{runs}}/lanes-base-idd"),
        },
        ("bdd100k-180x320", "camvid-road-180x320"),
        (
            "On a country road, the oncoming lane was missed in most frames, and a patch of grass "
            "beside the road was taken for road in some.",
            "At night without street lights, the unlit ground beside the road is taken for road.",
            "In a street with raindrops on the windscreen, the ground beside the road is in part "
            "taken for road.",
        ),
    ),
}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=RECIPES, default="lanes")
    for source in ("bdd100k", "idd", "camvid"):
        parser.add_argument(f"--{source}", metavar="DIR", required=True)
    parser.add_argument("--weights", metavar="FILE", help="needed unless --run is given")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True)
    parser.add_argument("--run", metavar="RUN", type=Path, help="a finished run of the recipe")
    parser.add_argument("--video", metavar="FILE", nargs="+", default=[], help="to measure flicker")
    args = parser.parse_args()
    recipe = RECIPES[args.model]
    if not (args.run or args.weights):
        raise InputError("--weights: name the encoder's weights, or a finished run with --run")
    data = [*recipe.elsewhere, *({} if args.run else records_of(recipe))]
    *_, last = recipe.stages.values()
    for each in dict.fromkeys([last.data, *data]):
        build(each, args)
    trained = args.run or train(recipe, args)
    return published_card.publish(
        trained,
        args.out / "published" / args.model,
        words={
            "name": args.model,
            "summary": recipe.summary,
            "licence": "for research and education only, not for profit (trained on "
            f"{', '.join(recipe.data[:-1])} and {recipe.data[-1]})",
            "data_licences": {name: LICENCES[name] for name in recipe.data},
            "observations": recipe.observations,
        },
        data=args.out / "records" / last.data,
        elsewhere=[args.out / "records" / each for each in recipe.elsewhere],
        videos=args.video,
    )


def records_of(recipe):
    """Names of the RECORDS that the stages of a recipe train on."""
    texts = [text for stage in recipe.stages.values() for text in stage]
    return [name for name in RECORDS if any(name in text for text in texts)]


def build(name, args):
    source, flags = RECORDS[name]
    folder = getattr(args, source)
    out = args.out / "records" / name
    command("tfrecords_tools.build", "--source", source, "--data", folder, "--out", out, flags)


def train(recipe, args):
    """Trains all stages. Returns the last run."""
    paths = {
        "weights": shlex.quote(str(args.weights)),
        "records": shlex.quote(str(args.out / "records")),
        "runs": shlex.quote(str(args.out / "runs")),
    }
    for name, stage in recipe.stages.items():
        out, data = args.out / "runs" / name, args.out / "records" / stage.data
        command("kseg.train", "--data", data, "--out", out, stage.flags.format(**paths))
    return out


def command(module, *arguments_and_flags):
    """Runs a command of kseg in a process of its own. Exits with its code if that is not 0."""
    *arguments, flags = map(str, arguments_and_flags)
    argv = [sys.executable, "-m", module, *arguments, *shlex.split(flags)]
    print("$", shlex.join(argv[1:]), flush=True)
    if code := subprocess.run(argv, check=False).returncode:
        sys.exit(code)


if __name__ == "__main__":
    sys.exit(run(main))
