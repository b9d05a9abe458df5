"""python -m kseg.train: trains a model; with no arguments, the demo preset."""

import argparse
import math
import os
import sys
from pathlib import Path

from kseg import presets
from kseg.errors import InputError, run

EXAMPLES = """examples:
  python -m kseg.train                                    the demo preset
  python -m kseg.train --preset camvid --encoder-weights imagenet --out runs/camvid
  python -m kseg.train --preset course --data data/course --out runs/segformer
  python -m kseg.train --loss "dice+0.5*cross_entropy" --class-weights auto --optimizer adamw
  python -m kseg.train --preset bdd100k --data data/bdd100k --save-steps 1000 --dry-run

RUN gets config.json, best.weights.h5, history.csv, curves.png and tensorboard/. The same command
again resumes an interrupted run at its last checkpoint, with the same result as if it had not been
interrupted.
"""


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m kseg.train",
        description="Trains a drivable-area segmentation model on TFRecords.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", metavar="RUN", help="run folder (default: runs/PRESET)")
    parser.add_argument(
        "--save-steps",
        type=int,
        default=0,
        metavar="N",
        help="a checkpoint also every N steps of an epoch (default: after epochs only)",
    )
    parser.add_argument(
        "--tensorboard",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="write scalars and pictures for TensorBoard (default: yes)",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print config, data, model size and memory, time one step, and write nothing",
    )
    parser.add_argument(
        "--devices",
        type=int,
        default=1,
        metavar="N",
        help="GPUs of this machine (or logical CPUs) that share each batch (default: 1)",
    )
    parser.add_argument(
        "--hosts",
        metavar="NAME:PORT,...",
        default=os.environ.get("KERAS_DISTRIBUTION_JOB_ADDRESSES"),
        help="machines that share each batch with all their devices, started one by one with the "
        "same command and RUN on shared storage (KERAS_BACKEND=jax; no TensorBoard)",
    )
    parser.add_argument(
        "--host",
        type=int,
        metavar="K",
        default=os.environ.get("KERAS_DISTRIBUTION_PROCESS_ID", "0"),
        help="which of --hosts this is, from 0; the first listens at its port and writes RUN",
    )
    parser.add_argument(
        "--cache",
        metavar="auto|none|memory|FOLDER",
        default="auto",
        help="decode each training frame once and keep it in memory, or in FOLDER for later runs "
        "too; the result is the same (default: auto, in memory where a tenth of what is free "
        "holds them)",
    )
    presets.add_flags(parser)
    args = parser.parse_args(argv)
    config = presets.resolve(args)
    hosts = args.hosts.split(",") if args.hosts else []
    expected = os.environ.get("KERAS_DISTRIBUTION_NUM_PROCESSES", "")
    if expected and expected != str(max(1, len(hosts))):
        raise InputError(
            f"KERAS_DISTRIBUTION_NUM_PROCESSES is {expected}, and {len(hosts)} are named; name "
            "each in --hosts, or in KERAS_DISTRIBUTION_JOB_ADDRESSES"
        )
    if args.dry_run:
        if hosts:
            raise InputError("--dry-run: of one host only; leave --hosts out")
        manifest = _checked_data(config)
        from kseg.training.dry_run import dry_run

        return dry_run(config, manifest, args.devices)
    return train(
        config,
        Path(args.out or f"runs/{args.preset}"),
        save_steps=args.save_steps,
        pictures=args.tensorboard,
        devices=args.devices,
        hosts=hosts,
        host=args.host,
        cache=args.cache,
    )


def train(config, out, *, save_steps=0, pictures=False, devices=1, hosts=(), host=0, cache="auto"):
    """Trains one Config in the run folder `out`, resuming what is there. Returns the exit code.

    save_steps: a checkpoint also every so many steps; pictures: write RUN/tensorboard/; devices:
    how many share each batch; hosts, host: as kseg.training.distributed.join; cache: as `keep` of
    kseg.data.pipeline.training_dataset.
    """
    manifest = _checked_data(config)
    if save_steps < 0:
        raise InputError(f"--save-steps {save_steps}: expected 0 or more")
    several = devices > 1 or len(hosts) > 1
    if several and save_steps:
        raise InputError("--save-steps: several devices save after whole epochs only")

    import keras

    from kseg.data import pipeline
    from kseg.training import distributed as shared
    from kseg.training import resume

    share = shared.join(hosts, host) if len(hosts) > 1 else (0, 1)
    keras.utils.set_random_seed(config.seed)
    state = resume.resume_state(out)
    if len(hosts) > 1:
        shared.check_same_start(state, out)
        pictures = False  # One host alone cannot predict.
    with (
        pipeline.raise_on_corrupt_record(config.data),
        shared.scope(devices, config, hosts=share[1]),
    ):
        datasets = _datasets(config, state, share, several, cache)
        history = _fit(
            config,
            manifest,
            out,
            state,
            datasets,
            share[0],
            several=several,
            save_steps=save_steps,
            pictures=pictures,
        )
    if history and not math.isfinite(history.history["loss"][-1]):
        print("error: the loss became NaN; lower --learning-rate", file=sys.stderr)
        return 1
    if share[0] == 0:
        _finish(config, manifest, out)
    return 0


def _datasets(config, state, share, several, cache):
    """Returns the training frames from `state` on and those for validation, of this host."""
    from kseg.data import pipeline

    training = pipeline.training_dataset(
        config,
        first_epoch=state["epochs_done"],
        first_step=state["step"],
        keep=cache,
        share=share,
    )
    return training, pipeline.evaluation_dataset(config, "val", share if several else None)


def _fit(config, manifest, out, state, datasets, host, *, several, save_steps, pictures):
    """Trains from `state` on. Returns the keras History, None when there is nothing to do."""
    from kseg import run_folder
    from kseg.data import pipeline
    from kseg.training import build_training, callbacks, distributed, history, resume, summary

    done, step = state["epochs_done"], state["step"]
    steps = pipeline.steps_per_epoch(config, manifest)
    training, validation = datasets
    model = build_training.build_compiled_model(config, manifest, steps)
    if several:
        distributed.synchronize(model)
    # Only now: what was refused so far leaves no run that the corrected command would run into.
    if host == 0:
        run_folder.start_run(out, config, manifest)
    resume.restore(out, model, state)
    print(summary.describe_run(config, manifest, build_training.cost(model), steps))
    if done >= config.epochs or history.is_over(history.read(out), config.patience):
        print(f"{out}: already trained, nothing to do")
        return None
    if done or step:
        print(f"{out}: resuming after epoch {done}" + f" and {step} steps" * (step > 0))
    saving = callbacks.SaveProgress(
        out,
        state,
        steps,
        save_steps=save_steps,
        patience=config.patience,
        writes=host == 0,
    )
    return model.fit(
        training,
        validation_data=validation,
        initial_epoch=done,
        epochs=config.epochs,
        steps_per_epoch=steps,
        shuffle=False,  # The dataset does.
        verbose="auto" if host == 0 else 0,
        callbacks=_callbacks(config, manifest, out, saving, pictures),
    )


def _callbacks(config, manifest, out, saving, pictures):
    import keras

    from kseg.training import ema, tensorboard
    from kseg.training.progress_bar import ProgressBar

    board = tensorboard.callbacks(config, manifest.labels, out / "tensorboard") if pictures else []
    validating = ema.ValidateAverages()
    bar = ProgressBar(manifest.labels)
    return [keras.callbacks.TerminateOnNaN(), validating, saving, *board, bar]


def _finish(config, manifest, out):
    from kseg import files
    from kseg.training import history, summary

    rows = summary.numbers(history.read(out))
    with files.atomic_write(out / "curves.png") as partial:
        summary.plot(rows, partial)
    best = summary.best_row(rows)
    epoch = f"epoch {best['epoch'] + 1:.0f} of {config.epochs}"
    summary.print_best(rows, manifest.labels, f"{out}, {epoch}")
    print(
        f"{out}: best validation mean IoU {best['val_mean_iou']:.4f} ({epoch}), curves in "
        f"{out / 'curves.png'}"
    )


def _checked_data(config):
    """Returns the Manifest of config.data; bad input fails before TensorFlow is imported."""
    from kseg.manifest import read_manifest

    manifest = read_manifest(config.data)
    for split in ("train", "val"):
        if split not in manifest.splits:
            raise InputError(f"{config.data}: no split '{split}'; build it with --split")
    return manifest


if __name__ == "__main__":
    sys.exit(run(main))
