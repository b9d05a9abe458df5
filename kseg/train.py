"""python -m kseg.train: trains a model; with no arguments, the demo preset."""

import argparse
import csv
import math
import sys
from pathlib import Path

from kseg import config as configs
from kseg.errors import InputError, run

EXAMPLES = """examples:
  python -m kseg.train                                    the demo preset
  python -m kseg.train --preset camvid --encoder-weights imagenet --out runs/camvid
  python -m kseg.train --preset course --data data/course --out runs/segformer

RUN gets config.json, best.weights.h5, history.csv and curves.png. The same command again resumes an
interrupted run where its last epoch ended, with the same result as if it had not been interrupted.
"""


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m kseg.train",
        description="Trains a drivable-area segmentation model on TFRecords.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", metavar="RUN", help="run folder (default: runs/PRESET)")
    configs.add_flags(parser)
    args = parser.parse_args(argv)
    config = configs.resolve(args)
    out = Path(args.out or f"runs/{args.preset}")
    return train(config, out)


def train(config, out):
    """Trains one Config in the run folder `out`, resuming what is there. Returns the exit code."""
    from kseg import manifest  # Fails on bad input before the seconds of importing TensorFlow.

    whole = manifest.read(config.data)
    for split in ("train", "val"):
        if split not in whole.splits:
            raise InputError(f"{config.data}: no split '{split}'; build it with --split")

    import keras

    from kseg import checkpoints, data

    keras.utils.set_random_seed(config.seed)
    steps = data.steps_per_epoch(config, whole)
    training = data.training_dataset(
        config, first_epoch=checkpoints.resume_state(out)["epochs_done"]
    )
    validation = data.evaluation_dataset(config, "val")
    model = _compiled_model(config, whole, steps)
    # Only now: what was refused so far leaves no run that the corrected command would run into.
    checkpoints.start_run(out, config, whole)
    state = checkpoints.resume(out, model)
    done = state["epochs_done"]
    print(_opening(model, config, whole, steps, out, done))
    if done < config.epochs:
        history = model.fit(
            training,
            validation_data=validation,
            initial_epoch=done,
            epochs=config.epochs,
            steps_per_epoch=steps,
            shuffle=False,  # The dataset does.
            callbacks=[
                keras.callbacks.TerminateOnNaN(),
                checkpoints.SaveProgress(out, best=state["best"]),
                keras.callbacks.CSVLogger(out / "history.csv", append=done > 0),
            ],
        )
        if not math.isfinite(history.history["loss"][-1]):
            print("error: the loss became NaN; lower --learning-rate", file=sys.stderr)
            return 1
    rows = _read_history(out / "history.csv")
    _plot(rows, out / "curves.png")
    best = max(rows, key=lambda row: row["val_mean_iou"])
    print(
        f"{out}: best validation mean IoU {best['val_mean_iou']:.4f} (epoch "
        f"{best['epoch'] + 1:.0f} of {config.epochs}), curves in {out / 'curves.png'}"
    )
    return 0


def _compiled_model(config, whole, steps):
    import keras

    from kseg import checkpoints, losses, metrics, schedules

    model = checkpoints.build_model(config, whole.labels, config.encoder_weights)
    schedule = schedules.OneCycle(config.learning_rate, steps * config.epochs)
    model.compile(
        optimizer=keras.optimizers.Adam(schedule, global_clipnorm=config.clip_norm or None),
        loss=losses.build(config.loss),
        metrics=[metrics.SegmentationMetrics(whole.labels)],
        # XLA on TensorFlow cannot compile the gradient of a resize; JAX needs it to be fast.
        jit_compile="auto" if keras.backend.backend() == "jax" else False,
    )
    return model


def _opening(model, config, whole, steps, out, done):
    from kseg.models import cost

    gflops = 2 * cost.multiply_adds(model) / 1e9
    total_steps = steps * config.epochs
    # Backward costs twice forward: one pass for the activations, one for the weights.
    budget = 3 * gflops * config.batch_size * total_steps / 1e3
    lines = [
        f"{config.model}: {model.count_params() / 1e6:.2f} M parameters, {gflops:.3f} GFLOPs a "
        f"frame of {config.size[0]}x{config.size[1]}",
        f"{config.data}: {whole.splits['train'].examples} training frames; {total_steps} steps of "
        f"{config.batch_size} ({config.epochs} epochs), {budget:.1f} TFLOPs in all",
    ]
    if 0 < done < config.epochs:
        lines.append(f"{out}: resuming after epoch {done}")
    elif done:
        lines.append(f"{out}: already trained, nothing to do")
    return "\n".join(lines)


def _read_history(path):
    with path.open() as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def _plot(rows, path):
    import matplotlib

    matplotlib.use("Agg")  # No screen needed.
    from matplotlib import pyplot

    epochs = [row["epoch"] + 1 for row in rows]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for name, label in (("loss", "training"), ("val_loss", "validation")):
        left.plot(epochs, [row[name] for row in rows], label=label)
    left.set(title="loss", xlabel="epoch")
    for name in rows[0]:
        if name.startswith("val_iou/") or name == "val_mean_iou":
            thick = 2.5 if name == "val_mean_iou" else 1.2
            right.plot(epochs, [row[name] for row in rows], label=name[4:], linewidth=thick)
    right.set(title="validation IoU", xlabel="epoch", ylim=(0, 1))
    for axes in (left, right):
        axes.legend()
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(run(main))
