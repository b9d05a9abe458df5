"""Presets, and the Config of a command line: defaults < preset < --config file < flags.

A preset is a function that returns the Config of an experiment; its docstring gives the accuracy to
expect and who measured it. Standard library only.
"""

import argparse
import dataclasses
import shlex
from dataclasses import replace
from typing import Any

from kseg import init_source
from kseg.config import Config, kind_of, merge, read_values
from kseg.errors import InputError
from kseg.manifest import read_manifest

AUTO = "auto"  # A value of --batch-size.
DEFAULT = "demo"  # A key of PRESETS.


def demo() -> Config:
    """The demo data set: trains in minutes on two cores (README has measured numbers)."""
    return replace(
        Config(),
        encoder_alpha=0.35,
        output_stride=16,
        decoder_channels=64,
        epochs=28,
        learning_rate=2e-3,
    )


def camvid() -> Config:
    """CamVid as road / pavement / rest (tfrecords_tools.build --source camvid --task road).

    Add --encoder-weights imagenet, or a file. README has the measured accuracy. The 1,350 steps
    take 0.3 s each on two cores of an AMD EPYC, so some minutes in total.
    """
    return replace(
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


def camvid11() -> Config:
    """CamVid's usual 11 classes at 360x480 (tfrecords_tools.build --source camvid --task 11).

    For comparison, test mIoU from scratch in the papers: SegNet 46.4 to 55.6 (arXiv:1511.00561),
    ENet 51.3 (arXiv:1606.02147), FC-DenseNet56 58.9 (arXiv:1611.09326). This code reaches 68.1 on
    val after 50 epochs of --encoder-alpha 0.35 --decoder-channels 128, an hour on one CPU core
    (README). Class weights are median frequency balanced, as in SegNet. Add --encoder-weights
    imagenet.
    """
    return replace(
        Config(),
        data="data/camvid11-360x480",
        size=(360, 480),
        loss="cross_entropy+dice",
        class_weights="auto",
        epochs=120,
        learning_rate=2e-3,
        clip_norm=0.0,
        scale_min=0.75,
        scale_max=1.5,
    )


def course() -> Config:
    """Protocol of a BDD100K course: 180x320, batch 8, Adam 3e-4, one-cycle, 12 epochs, log-Dice.

    For any model: --preset course --model NAME. The course published these test mean IoUs (3
    classes, 3,430 BDD100K frames split 2401/686/343): unet 65.4, fcn_resnet50 69.6,
    deeplab_v3_plus_resnet50 73.1, pspnet_resnet50 75.5 and segformer_b3 77.1, the best and the
    default here. None has been reproduced with this code (smaller models on 447 frames:
    scripts/benchmarks/README.md). Encoders start from scratch unless --encoder-weights is given
    (kseg.compare --help has the command for all five). On two cores of an AMD EPYC a step of 8
    frames takes 6.3, 1.6, 1.7, 2.1 and 2.3 s, in that order, so the 3,600 steps take as many hours,
    without reading and validation (--dry-run).
    Data: tfrecords_tools.build --source bdd100k --size 180 320 --limit 3430 --split 0.7 0.2 0.1.
    """
    return replace(
        Config(),
        data="data/course",
        size=(180, 320),
        model="segformer_b3",
        color_jitter=0.0,
        clip_norm=0.0,
    )


def bdd100k() -> Config:
    """All of BDD100K by the SysCV zoo's protocol: SGD 0.01, poly, 80,000 steps.

    The zoo's 3-class val mIoU: DeepLabV3+ on ResNet-50 84.35, PSPNet 83.67, FCN 74.84
    (SysCV/bdd100k-models, drivable). Not measured with this code. At 16 frames per step (the zoo: 2
    per GPU), 69,863 labelled frames make 4,366 steps per epoch, so 18 epochs are 78,588 steps.
    Other differences: the zoo crops 512x1024 windows from 1280x720 frames scaled by 0.5 to 2, while
    here the window is the full frame at 576x1024, scaled likewise; its learning rate ends at 1e-4,
    here at 0; its decoder has 512 channels. Add --encoder-weights imagenet. Needs GPUs: on two
    cores of an AMD EPYC, 2 frames of a step take 11.8 s (--dry-run), so all steps three months.
    Data: tfrecords_tools.build --source bdd100k --size 576 1024.
    """
    return replace(
        Config(),
        data="data/bdd100k-576x1024",
        size=(576, 1024),
        model="deeplab_v3_plus_resnet50",
        output_stride=8,
        loss="cross_entropy",
        auxiliary_weight=0.4,
        batch_size=16,
        epochs=18,
        optimizer="sgd",
        learning_rate=0.01,
        weight_decay=5e-4,
        schedule="poly",
        clip_norm=0.0,
        scale_min=0.5,
        scale_max=2.0,
    )


def cityscapes() -> Config:
    """Cityscapes' 19 classes by mmsegmentation's SegFormer protocol: AdamW, poly, 160,000 steps.

    mmsegmentation's val mIoU, single scale: SegFormer-B0 76.5 up to B5 82.3, from encoders trained
    on ImageNet. Not measured with this code. AdamW at 6e-5 for the encoder and ten times that for
    the decoder, 1,500 steps of warm-up, poly with power 1; 371 steps of 8 frames per epoch, so 431
    epochs are 159,901 steps. Difference: the window of 512x1024 shows the full frame at half size,
    scaled by 0.5 to 2, where theirs is 1024x1024 pixels of the full-size frame. On two cores of an
    AMD EPYC a step takes 3.5 s (--dry-run), so all steps 6 1/2 days.
    Data: tfrecords_tools.build --source cityscapes --task 19 --size 512 1024.
    """
    return replace(
        Config(),
        data="data/cityscapes19-512x1024",
        size=(512, 1024),
        model="segformer_b0",
        loss="cross_entropy",
        batch_size=8,
        epochs=431,
        optimizer="adamw",
        learning_rate=6e-4,
        encoder_learning_rate_factor=0.1,
        weight_decay=0.01,
        schedule="poly",
        poly_power=1.0,
        warmup_steps=1500,
        clip_norm=0.0,
        scale_min=0.5,
        scale_max=2.0,
    )


PRESETS = {
    "demo": demo,
    "camvid": camvid,
    "camvid11": camvid11,
    "course": course,
    "bdd100k": bdd100k,
    "cityscapes": cityscapes,
}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds --preset, --config and one flag per Config field, with help."""
    first_lines = {
        name: str(preset.__doc__).splitlines()[0].rstrip(".") for name, preset in PRESETS.items()
    }
    presets = "; ".join(f"{name}: {line}" for name, line in first_lines.items())
    parser.add_argument(
        "--preset",
        choices=PRESETS,
        help=f"experiment to start from (default: {DEFAULT}, but with the --size of the source of "
        f"--init, or else of the frames in --data). {presets}",
    )
    parser.add_argument("--config", metavar="JSON", help="config file; overrides the preset")
    group = parser.add_argument_group("config (each overrides the preset and the config file)")
    for spec in dataclasses.fields(Config):
        _add_flag(group, spec)


def resolve(
    args: argparse.Namespace, out: str | None = None, *, measures_batch: bool = False
) -> Config:
    """Merges preset, config file and flags of parsed `args` into a Config. Raises InputError.

    With --init RUN, the model is that of RUN unless file or flags say otherwise. Where neither
    these nor a preset say a size, it is that of RUN, or else the size in which data is stored, if
    all its frames have one. out: run folder of the training, which may have started already.
    measures_batch: whether the caller resolves --batch-size auto; the Config then has the batch
    size of preset or file.
    """
    file = read_values(args.config) if args.config else {}
    config = merge(PRESETS[args.preset or DEFAULT](), file, where=args.config)
    names = [spec.name for spec in dataclasses.fields(Config)]
    flags = {n: getattr(args, n) for n in names if getattr(args, n) is not None}
    if args.batch_size == AUTO:
        if not measures_batch:
            raise InputError("--batch-size auto: only kseg.train measures it; give a number")
        del flags["batch_size"]
    if args.class_weights is not None:
        flags["class_weights"] = " ".join(args.class_weights)
    if args.also is not None:
        flags["also"] = tuple(shlex.join(words) for words in args.also)
    taken: dict[str, Any] = {}
    if not args.preset:
        taken["size"] = _stored_size(flags.get("data", config.data)) or config.size
    init = flags.get("init", config.init)
    if init != "none":
        if "init" in flags:  # In place of the weights from which the run of the file started.
            flags.setdefault("encoder_weights", "none")
        source = init_source.settings(init, out)
        taken |= {key: source[key] for key in source if key != "size" or not args.preset}
    flags = {key: value for key, value in taken.items() if key not in file} | flags
    return merge(config, flags, where="flags")


def _stored_size(data):
    """The size of the frames of a data set; None where they differ or there is no such data set."""
    try:
        return read_manifest(data).size
    except InputError:
        return None  # The caller opens it next, and reports this.


def _add_flag(group, spec):
    flag, kind = "--" + spec.name.replace("_", "-"), kind_of(spec)
    text = f"{spec.metadata['help']} (demo: {_format(getattr(demo(), spec.name))})"
    if kind is bool:
        group.add_argument(flag, action=argparse.BooleanOptionalAction, default=None, help=text)
    elif spec.name == "also":
        metavar = ("DATA", "FRAMES|THEIRS=OURS")
        group.add_argument(flag, nargs="+", action="append", metavar=metavar, help=text)
    elif kind is tuple:
        group.add_argument(
            flag, nargs=2, type=int, default=None, metavar=("HEIGHT", "WIDTH"), help=text
        )
    else:
        group.add_argument(
            flag,
            type=_size_or_auto if spec.name == "batch_size" else kind,
            default=None,
            nargs="+" if spec.name == "class_weights" else None,
            choices=spec.metadata["choices"],
            metavar=_metavar(spec, kind),
            help=text,
        )


def _metavar(spec, kind):
    if spec.name == "batch_size":
        return f"N|{AUTO}"
    return None if spec.metadata["choices"] else kind.__name__.upper()


def _size_or_auto(text):
    return text if text == AUTO else int(text)


def _format(default):
    if default == ():
        return "none"
    return "x".join(map(str, default)) if isinstance(default, tuple) else default
