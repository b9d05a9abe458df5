"""python -m kseg.train: trains a model; with no arguments, the demo preset."""

import argparse
import math
import sys
from pathlib import Path

from kseg import presets
from kseg.errors import InputError, run

EXAMPLES = """examples:
  python -m kseg.train                                    the demo preset
  python -m kseg.train --preset camvid --encoder-weights imagenet --out runs/camvid
  python -m kseg.train --preset course --data data/course --out runs/segformer
  python -m kseg.train --loss "dice+0.5*cross_entropy" --class-weights auto --optimizer adamw

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
    presets.add_flags(parser)
    args = parser.parse_args(argv)
    config = presets.resolve(args)
    out = Path(args.out or f"runs/{args.preset}")
    return train(config, out, save_steps=args.save_steps)


def train(config, out, *, save_steps=0):
    """Trains one Config in the run folder `out`, resuming what is there. Returns the exit code."""
    whole = _checked_data(config)

    import keras

    from kseg import averages, checkpoints, compiled, data, progress, summary

    keras.utils.set_random_seed(config.seed)
    steps = data.steps_per_epoch(config, whole)
    state = progress.resume_state(out)
    done, step = state["epochs_done"], state["step"]
    training = data.training_dataset(config, first_epoch=done, first_step=step)
    validation = data.evaluation_dataset(config, "val")
    model = compiled.compiled_model(config, whole, steps)
    # Only now: what was refused so far leaves no run that the corrected command would run into.
    checkpoints.start_run(out, config, whole)
    progress.restore(out, model, state)
    print(summary.opening(config, whole, compiled.cost(model), steps))
    over = done >= config.epochs or progress.is_over(out, config.patience)
    if over:
        print(f"{out}: already trained, nothing to do")
    elif done or step:
        print(f"{out}: resuming after epoch {done}" + f" and {step} steps" * (step > 0))
    if not over:
        history = model.fit(
            training,
            validation_data=validation,
            initial_epoch=done,
            epochs=config.epochs,
            steps_per_epoch=steps,
            shuffle=False,  # The dataset does.
            callbacks=[
                keras.callbacks.TerminateOnNaN(),
                averages.ValidateAverages(),
                progress.SaveProgress(
                    out, state, steps, save_steps=save_steps, patience=config.patience
                ),
            ],
        )
        if not math.isfinite(history.history["loss"][-1]):
            print("error: the loss became NaN; lower --learning-rate", file=sys.stderr)
            return 1
    rows = summary.numbers(progress.read_history(out))
    summary.plot(rows, out / "curves.png")
    best = summary.best_row(rows)
    summary.print_best(rows, whole.labels, f"{out}, epoch {best['epoch'] + 1:.0f}")
    print(
        f"{out}: best validation mean IoU {best['val_mean_iou']:.4f} (epoch "
        f"{best['epoch'] + 1:.0f} of {config.epochs}), curves in {out / 'curves.png'}"
    )
    return 0


def _checked_data(config):
    """Returns the Manifest of config.data; bad input fails before TensorFlow is imported."""
    from kseg import manifest

    whole = manifest.read(config.data)
    for split in ("train", "val"):
        if split not in whole.splits:
            raise InputError(f"{config.data}: no split '{split}'; build it with --split")
    return whole


if __name__ == "__main__":
    sys.exit(run(main))
