"""Presets, and the one Config of a command line: defaults < preset < --config file < flags.

A preset is an experiment: a function that returns a Config, with the accuracy to expect and who
measured it. Standard library only.
"""

import argparse
import dataclasses
from dataclasses import replace

from kseg.config import Config, kind_of, merge, read_values


def demo():
    """The demo set, sized for minutes on two cores (README has measured numbers)."""
    return replace(
        Config(),
        encoder_alpha=0.35,
        output_stride=16,
        decoder_channels=64,
        epochs=28,
        learning_rate=2e-3,
    )


def camvid():
    """CamVid as road / pavement / rest (tfrecords_tools.build --source camvid --task road).

    Add --encoder-weights imagenet, or a file. README has the measured accuracy. 1,350 steps of
    0.3 s on two cores of an AMD EPYC: some minutes.
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


def camvid11():
    """CamVid's usual 11 classes at 480x360 (tfrecords_tools.build --source camvid --task 11).

    For comparison, test mIoU from scratch in the papers: SegNet 46.4 to 55.6 (arXiv:1511.00561),
    ENet 51.3 (arXiv:1606.02147), FC-DenseNet56 58.9 (arXiv:1611.09326). With this code 68.1 on val
    after 50 epochs of --encoder-alpha 0.35 --decoder-channels 128, an hour on one CPU core
    (README). Class weights are median frequency balanced, as SegNet's. Add --encoder-weights
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


def course():
    """The course's protocol: 320x180, batch 8, Adam 3e-4, one-cycle, 12 epochs, log-Dice.

    For any family: --preset course --model NAME. The course published these test mean IoUs (3
    classes, 3,430 BDD100K frames split 2401/686/343): unet 65.4, fcn_resnet50 69.6,
    deeplab_v3_plus_resnet50 73.1, pspnet_resnet50 75.5, segformer_b3 77.1, its best and the default
    here. None has been repeated with this code yet. Encoders start from scratch unless
    --encoder-weights says otherwise (kseg.compare --help has the line for all five). On two cores
    of an AMD EPYC a step of 8 frames takes 6.3, 1.6, 1.7, 2.1 and 2.3 s, in that order, so the
    3,600 steps as many hours, reading and validation apart (--dry-run).
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


def bdd100k():
    """All of BDD100K by the SysCV zoo's protocol: SGD 0.01, poly, 80,000 steps.

    The zoo's 3-class val mIoU: DeepLabV3+ on ResNet-50 84.35, PSPNet 83.67, FCN 74.84
    (SysCV/bdd100k-models, drivable). Not measured with this code. At 16 frames a step (the zoo: 2
    on each GPU) 69,863 labelled frames make 4,366 steps an epoch, so 18 epochs are 78,588 steps.
    Other differences: the zoo cuts 512x1024 windows out of 1280x720 frames zoomed by 0.5 to 2, here
    the window is the whole frame at 576x1024, zoomed likewise; its learning rate ends at 1e-4, here
    at 0; its head is 512 wide. Add --encoder-weights imagenet. For GPUs: on two cores of an AMD
    EPYC 2 frames of a step take 11.8 s (--dry-run), so all of them three months.
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


def cityscapes():
    """Cityscapes' 19 classes by mmsegmentation's SegFormer protocol: AdamW, poly, 160,000 steps.

    mmsegmentation's val mIoU, single scale: SegFormer-B0 76.5 up to B5 82.3, from encoders trained
    on ImageNet. Not measured with this code. AdamW at 6e-5 for the encoder and ten times that for
    the head, 1,500 steps of warm-up, poly with power 1; 371 steps of 8 frames an epoch, so 431
    epochs are 159,901 steps. Differences: the window of 512x1024 shows the whole frame at half
    size, zoomed by 0.5 to 2, where theirs is 1024x1024 of the full one. On two cores of an AMD EPYC
    a step takes 3.5 s (--dry-run), so all of them 6 1/2 days.
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


def add_flags(parser):
    """Adds --preset, --config and one flag per Config field, each described in --help."""
    presets = "; ".join(f"{n}: {f.__doc__.splitlines()[0]}" for n, f in PRESETS.items())
    parser.add_argument("--preset", choices=PRESETS, default="demo", help=f"start from {presets}")
    parser.add_argument("--config", metavar="JSON", help="config file over the preset")
    group = parser.add_argument_group("config (each overrides the preset and the config file)")
    for spec in dataclasses.fields(Config):
        _add_flag(group, spec)


def resolve(args):
    """Merges preset, config file and flags of parsed `args` into one Config. Raises InputError."""
    config = PRESETS[args.preset]()
    if args.config:
        config = merge(config, read_values(args.config), where=args.config)
    names = [spec.name for spec in dataclasses.fields(Config)]
    flags = {n: getattr(args, n) for n in names if getattr(args, n) is not None}
    if args.class_weights is not None:
        flags["class_weights"] = " ".join(args.class_weights)
    return merge(config, flags, where="flags")


def _add_flag(group, spec):
    flag, kind = "--" + spec.name.replace("_", "-"), kind_of(spec)
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
            nargs="+" if spec.name == "class_weights" else None,
            choices=spec.metadata["choices"],
            metavar=None if spec.metadata["choices"] else kind.__name__.upper(),
            help=text,
        )


def _shown(default):
    return "x".join(map(str, default)) if isinstance(default, tuple) else default
