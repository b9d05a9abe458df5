"""python -m kseg.train: trains a model; without arguments, the demo preset."""

import argparse
import contextlib
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kseg import files, presets, run_folder
from kseg.config import Config
from kseg.errors import InputError, run
from kseg.manifest import Manifest, check_labelled, missing_classes, read_manifest
from kseg.mixture import read_mixture

EXAMPLES = """examples:
  python -m kseg.train                                    the demo preset
  python -m kseg.train --preset camvid --encoder-weights imagenet --out runs/camvid
  python -m kseg.train --preset course --data data/course --out runs/segformer
  python -m kseg.train --loss "dice+0.5*cross_entropy" --class-weights auto --optimizer adamw
  python -m kseg.train --preset bdd100k --data data/bdd100k --save-steps 1000 --dry-run
  python -m kseg.train --init runs/idd --data data/bdd100k --out runs/bdd        other classes
  python -m kseg.train --init runs/bdd --config runs/bdd/config.json --epochs 10 \\
      --learning-rate 1e-4 --out runs/bdd-2                                      trains it further
  python -m kseg.train --preset course --data data/course --batch-size auto --mixed-precision auto
  python -m kseg.train --data data/idd --also data/bdd100k direct=drivable alternative=drivable \\
      "*=ignore"                                                      two data sets: road or not

RUN gets config.json, best.weights.h5, history.csv, curves.png and tensorboard/. To resume an
interrupted run at its last checkpoint, run the same command again; the result is the same as
without the interruption.

exit codes: 0 trained, 1 the loss became NaN, 2 bad input, or another kseg.train runs in RUN,
75 another of the --hosts was lost: run the same command again, with the hosts that remain
"""


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    out = Path(args.out or f"runs/{args.preset or presets.DEFAULT}")
    config = presets.resolve(args, str(out), measures_batch=True)
    auto_batch = args.batch_size == presets.AUTO
    hosts = args.hosts.split(",") if args.hosts else []
    expected = os.environ.get("KERAS_DISTRIBUTION_NUM_PROCESSES", "")
    if expected and expected != str(max(1, len(hosts))):
        raise InputError(
            f"KERAS_DISTRIBUTION_NUM_PROCESSES is {expected}, but {len(hosts)} hosts are named; "
            "name each in --hosts or KERAS_DISTRIBUTION_JOB_ADDRESSES"
        )
    if args.dry_run:
        if hosts:
            raise InputError("--dry-run: runs on one host only; leave --hosts out")
        if args.profile:
            raise InputError("--dry-run: trains no steps that --profile could record; leave it out")
        manifest = _read_manifest(config)
        from kseg.training.dry_run import dry_run

        config = _with_batch_size(config, out, args.devices) if auto_batch else config
        config = _on_devices(config, out, args.devices, require_gpu=args.require_gpu)
        dry_run(config, manifest, args.devices)
        return 0
    return train(
        config,
        out,
        save_steps=args.save_steps,
        profile_steps=args.profile,
        tensorboard=args.tensorboard,
        devices=args.devices,
        hosts=hosts,
        host=args.host,
        cache=args.cache,
        require_gpu=args.require_gpu,
        auto_batch=auto_batch,
    )


def train(
    config: Config,
    out: Path,
    *,
    save_steps: int = 0,
    profile_steps: int = 0,
    tensorboard: bool = False,
    devices: int = 1,
    hosts: Sequence[str] = (),
    host: int = 0,
    cache: str = "auto",
    require_gpu: bool = False,
    auto_batch: bool = False,
) -> int:
    """Trains a Config in the run folder `out`, or resumes the run there. Returns the exit code.

    save_steps: save a checkpoint also after this many steps of an epoch (0: never). profile_steps:
    record this many steps in RUN/profile/ (kseg.training.profile; 0: none). tensorboard: write
    RUN/tensorboard/. devices: how many share each batch. hosts, host: as in
    kseg.training.distributed.join. cache: as in kseg.data.training_batches.training_dataset.
    require_gpu: raise InputError when there is no GPU. auto_batch: with the batch size that RUN
    records, or the largest that fits into the device's memory.
    """
    manifest = _read_manifest(config)
    if save_steps < 0:
        raise InputError(f"--save-steps {save_steps}: expected 0 or more")
    splits_batches = devices > 1 or len(hosts) > 1
    if auto_batch and len(hosts) > 1:
        raise InputError("--batch-size auto: several hosts need a number")
    if splits_batches and save_steps:
        raise InputError(
            "--save-steps: several devices save after complete epochs only; leave it out"
        )
    with contextlib.ExitStack() as stack:
        if host == 0 or len(hosts) < 2:  # The host that writes RUN.
            stack.enter_context(run_folder.hold(out))

        if auto_batch:  # First: once this process uses a GPU, it holds the memory.
            config = _with_batch_size(config, out, devices)

        import cv2
        import keras

        from kseg.data import pipeline
        from kseg.training import distributed, profile, resume

        # Batches are augmented in parallel; OpenCV's own threads slow this down.
        cv2.setNumThreads(1)
        mixture = read_mixture(config, manifest)
        rank, world_size = stack.enter_context(distributed.join(hosts, host, out))
        config = _on_devices(config, out, devices, hosts=world_size, require_gpu=require_gpu)
        keras.utils.set_random_seed(config.seed)
        state = resume.resume_state(out)
        if world_size > 1:
            distributed.check_same_start(state, out)
            tensorboard = False  # A host cannot predict alone.
        job = _Job(config, manifest, out, state, rank, world_size, devices)
        profile.check_steps(profile_steps, job.steps_per_epoch)
        folders = [part.data for part in mixture.parts]
        stack.enter_context(pipeline.raise_on_corrupt_record(*folders))
        stack.enter_context(distributed.scope(devices, config, hosts=world_size))
        datasets = _datasets(job, splits_batches, cache)
        stack.enter_context(_undone_without_memory(job))
        model = _model(job)
        if _is_trained(job):
            print(f"{out}: already trained, nothing to do")
        else:
            # Only one host writes RUN, but under JAX saving is a computation that needs all.
            folder = stack.enter_context(files.temporary_folder()) if rank else out
            callbacks = _callbacks(job, folder, save_steps, tensorboard)
            if profile_steps and rank == 0:
                callbacks.append(_recorder(job, profile_steps))
            history = _fit(job, model, datasets, callbacks)
            if not math.isfinite(history.history["loss"][-1]):
                print("error: the loss became NaN; lower --learning-rate", file=sys.stderr)
                return 1
        if rank == 0:
            _finish(job)
    return 0


def _with_batch_size(config, out, devices):
    from kseg.training import batch_size

    return batch_size.resolve(config, out, devices)


@contextlib.contextmanager
def _undone_without_memory(job):
    """Leaves the run folder as it was if the first steps do not fit into the device's memory."""
    from kseg.training.out_of_memory import OutOfMemory

    began = (job.out / "config.json").is_file()
    try:
        yield
    except OutOfMemory:
        if job.rank == 0 and not began:
            run_folder.undo_start(job.out)
        raise


def _on_devices(config, out, devices, *, hosts=1, require_gpu=False):
    """Names the devices that will train. Returns config as these devices compute it."""
    from kseg.runtime import backend_devices
    from kseg.training import mixed_precision

    found = backend_devices.announce(
        "training", devices=devices, hosts=hosts, require_gpu=require_gpu
    )
    return mixed_precision.resolve(config, found, out)


class _Job(NamedTuple):
    """One training: what it trains, where, from which checkpoint, and as which of the hosts."""

    config: Config
    manifest: Manifest
    out: Path
    state: dict[str, Any]  # Of kseg.training.resume.
    rank: int
    world_size: int
    devices: int  # Of this host.

    @property
    def steps_per_epoch(self) -> int:
        from kseg.data import pipeline

        return pipeline.steps_per_epoch(self.config, self.manifest)


def _datasets(job, splits_batches, cache):
    """Returns the batches of this host, for training from `job.state` on and for validation."""
    from kseg.data import pipeline

    training = _training_batches(
        job, cache=cache, first_epoch=job.state["epochs_done"], first_step=job.state["step"]
    )
    validation = pipeline.evaluation_dataset(
        job.config,
        "val",
        pad_last=splits_batches,
        rank=job.rank,
        world_size=job.world_size,
    )
    return training, validation


def _training_batches(job, **options):
    """Returns training batches of this host. options: those of training_dataset."""
    from kseg.data import training_batches

    return training_batches.training_dataset(
        job.config, rank=job.rank, world_size=job.world_size, **options
    )


def _model(job):
    """Returns the compiled model with the state of the checkpoint; creates the run folder."""
    from kseg.training import build_training, out_of_memory, resume, summary

    with out_of_memory.reported(job.config, devices=job.devices):
        model = build_training.build_compiled_model(job.config, job.manifest, job.steps_per_epoch)
        if not job.state["weights"]:
            build_training.initialize(model, job.config, job.manifest)
    # Only now: input that was refused leaves no run folder, in the way of the corrected command.
    if job.rank == 0:
        run_folder.start_run(job.out, job.config, job.manifest)
    resume.restore(job.out, model, job.state)
    cost = build_training.cost(model)
    print(summary.describe_run(job.config, job.manifest, cost, job.steps_per_epoch))
    return model


def _is_trained(job):
    from kseg.training import history

    done = job.state["epochs_done"] >= job.config.epochs
    return done or history.is_over(history.read(job.out), job.config.patience)


def _callbacks(job, folder, save_steps, tensorboard):
    from kseg.training import callbacks, ema
    from kseg.training import tensorboard as event_files
    from kseg.training.progress_bar import ProgressBar

    labels, steps = job.manifest.labels, job.steps_per_epoch
    validating = ema.ValidateAverages(lambda: _training_batches(job), steps)
    saving = callbacks.SaveProgress(
        job.out,
        job.state,
        steps_per_epoch=steps,
        save_steps=save_steps,
        folder=folder,
        averaged=validating.averaged,
    )
    events = job.out / "tensorboard"
    return [
        callbacks.StopOnNaN(),
        validating,
        callbacks.ResumeEpoch(job.state, steps),
        callbacks.RequireScores(job.config.data),
        saving,
        callbacks.StopByPatience(saving, job.config.patience),
        *(
            event_files.callbacks(job.config, labels, events, validating.averaged)
            if tensorboard
            else []
        ),
        ProgressBar(labels),
    ]


def _recorder(job, steps):
    from kseg.training.profile import ProfileSteps

    return ProfileSteps(job.out / "profile", steps, job.steps_per_epoch, job.state["step"])


def _fit(job, model, datasets, callbacks):
    """Trains from `job.state` on. Returns the Keras History."""
    from kseg.training import out_of_memory
    from kseg.training.step_callbacks import StepCallbacks

    epochs_done, step = job.state["epochs_done"], job.state["step"]
    if epochs_done or step:
        print(f"{job.out}: resuming after epoch {epochs_done}" + f" and {step} steps" * (step > 0))
    training, validation = datasets
    verbose = "auto" if job.rank == 0 else 0
    with out_of_memory.reported(job.config, model, devices=job.devices):
        return model.fit(
            training,
            validation_data=validation,
            initial_epoch=epochs_done,
            epochs=job.config.epochs,
            steps_per_epoch=job.steps_per_epoch,
            shuffle=False,  # The dataset is shuffled.
            verbose=verbose,
            callbacks=StepCallbacks(
                callbacks,
                model=model,
                epochs=job.config.epochs,
                steps=job.steps_per_epoch,
                verbose=verbose,
            ),
        )


def _finish(job):
    """Plots the curves and prints the scores of the best epoch."""
    from kseg.training import history, summary

    rows = history.to_numbers(history.read(job.out))
    with files.atomic_write(job.out / "curves.png") as partial:
        summary.plot(rows, partial)
    best = history.best_row(rows)
    epoch = f"epoch {best['epoch'] + 1:.0f} of {job.config.epochs}"
    summary.print_best(rows, job.manifest.labels, f"{job.out}, {epoch}")
    print(
        f"{job.out}: best validation mean IoU {best['val_mean_iou']:.4f} ({epoch}), curves in "
        f"{job.out / 'curves.png'}"
    )


def _read_manifest(config):
    """Returns the Manifest of config.data; bad input fails before TensorFlow is imported."""
    manifest = read_manifest(config.data)
    for split in ("train", "val"):
        if split not in manifest.splits:
            raise InputError(f"{config.data}: no split '{split}'; build it with --split")
        check_labelled(config.data, manifest, split)
    read_mixture(config, manifest)
    if missing := missing_classes(manifest, "train"):
        print(
            f"warning: {config.data}: split 'train' has no pixel of {', '.join(missing)}; the "
            "model cannot learn what it never sees",
            file=sys.stderr,
        )
    return manifest


def _parser():
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
        help="save a checkpoint also after every N steps of an epoch (default: after epochs only)",
    )
    parser.add_argument(
        "--profile",
        type=int,
        default=0,
        metavar="N",
        help="record N steps in RUN/profile/ for TensorBoard (and Perfetto, under JAX), and print "
        "how their time divides: computing, copying, waiting for input, Python",
    )
    parser.add_argument(
        "--tensorboard",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="write scalars and images for TensorBoard (default: yes)",
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
        help="number of GPUs of this machine (or logical CPUs) that share each batch (default: 1)",
    )
    parser.add_argument(
        "--require-gpu", action="store_true", help="fail if there is no GPU to train on"
    )
    parser.add_argument(
        "--hosts",
        metavar="NAME:PORT,...",
        default=os.environ.get("KERAS_DISTRIBUTION_JOB_ADDRESSES"),
        help="machines that share each batch with all their devices; start the same command on "
        "each, with RUN on shared storage (needs KERAS_BACKEND=jax; writes no TensorBoard files)",
    )
    parser.add_argument(
        "--host",
        type=int,
        metavar="K",
        default=os.environ.get("KERAS_DISTRIBUTION_PROCESS_ID", "0"),
        help="index of this machine in --hosts; 0 is the coordinator, which listens at its port "
        "and writes RUN (default: 0)",
    )
    parser.add_argument(
        "--cache",
        metavar="auto|none|memory|FOLDER",
        default="auto",
        help="decode each training frame once and keep it in memory, or in FOLDER for later runs "
        "too; this does not change the result (default: auto, which is memory if the frames take "
        "at most a tenth of what is free)",
    )
    presets.add_flags(parser)
    return parser


if __name__ == "__main__":
    sys.exit(run(main))
