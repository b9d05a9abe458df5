"""Checkpoints in RUN/last/, from which an interrupted run resumes.

RUN/last/state.json      progress of the run, and the name of its weights file
RUN/last/previous.json   the same for the checkpoint before
RUN/last/*.weights.h5    model and optimizer of both

A kill at any moment leaves complete files: weights are renamed into place before the state that
names them, and the row in history.csv is written before the state that counts it.
"""

import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras

from kseg import files, trained_model
from kseg.errors import InputError

State = dict[str, Any]  # The content of state.json.

START: State = {"epochs_done": 0, "step": 0, "best": -1.0, "seconds": 0.0, "weights": None}


def resume_state(run: str | os.PathLike[str]) -> State:
    """Returns the state from which RUN continues; START for a new run.

    epochs_done and step (of the next epoch) count what is done, best is the best validation mean
    IoU, seconds the duration of the unfinished epoch, weights the name of the weights file. A
    corrupt checkpoint is skipped with a message, and the one before is used. Raises InputError when
    all checkpoints are corrupt.
    """
    last = Path(run) / "last"
    for name in ("state.json", "previous.json"):
        state = _read_state(last / name)
        if state and _is_complete(last, state):
            return START | state
        if (last / name).is_file():
            print(f"{last / name}: its checkpoint is corrupt and is skipped", file=sys.stderr)
    if list(last.glob("*.json")):
        raise InputError(f"{last}: no complete checkpoint; remove {run} to start again")
    return START


def restore(run: str | os.PathLike[str], model: keras.Model, state: State) -> None:
    """Loads weights, optimizer and random state of a checkpoint into a compiled model.

    Raises InputError when they belong to another model.
    """
    if state["weights"]:
        # The optimizer's slots must exist before their values can be loaded.
        model.optimizer.build(model.trainable_variables)
        path = Path(run) / "last" / state["weights"]
        try:
            model.load_weights(path)
        except (OSError, ValueError, KeyError) as error:
            reason = str(error).strip().splitlines()[0]
            raise InputError(
                f"{path}: does not match the model of this run ({reason}); resume with the kseg "
                f"version that wrote it, or remove {run} to start again"
            ) from error
        assign_all(random_state(model), state["random"])


class CheckpointWriter:
    """Writes RUN/last/; keeps the newest checkpoint and the complete one before it."""

    def __init__(self, run: str | os.PathLike[str], state: State):
        """state: the checkpoint from which the run resumed, or START."""
        self.folder = Path(run) / "last"
        # Not what state.json names now: that may be a corrupt checkpoint, which was skipped.
        self.previous = state if state["weights"] else None

    def save(
        self, model: keras.Model, *, epochs_done: int, step: int, best: float, seconds: float
    ) -> None:
        """Saves model, optimizer, random state and, within an epoch, metrics.

        The arguments are as in `resume_state`. Raises InputError when it cannot write.
        """
        if keras.backend.backend() == "jax":
            model.jax_state_sync()
        self.folder.mkdir(exist_ok=True)
        name = f"epoch-{epochs_done:04d}" + f"-step-{step:06d}" * (step > 0) + ".weights.h5"
        trained_model.save_weights(model, self.folder / name)
        state = {
            "epochs_done": epochs_done,
            "step": step,
            "best": best,
            "seconds": seconds if step else 0.0,
            "weights": name,
            "sha256": files.sha256(self.folder / name),
            # Weights files do not contain the random state of dropout and stochastic depth.
            "random": _to_lists(random_state(model)),
            "metrics": _to_lists(model.metrics_variables) if step else [],
        }
        if self.previous:
            files.write_text(self.folder / "previous.json", json.dumps(self.previous))
        files.write_text(self.folder / "state.json", json.dumps(state))
        in_use = {name, self.previous["weights"] if self.previous else None}
        self.previous = state
        for path in self.folder.glob("*.weights.h5"):
            if path.name not in in_use:
                path.unlink()


def random_state(model: keras.Model) -> list[keras.Variable]:
    """Returns the variables of a model that are not weights: states of its seed generators."""
    weights = {id(weight) for weight in model.weights}
    return [variable for variable in model.variables if id(variable) not in weights]


def assign_all(variables: Iterable[keras.Variable], values: Iterable[Any]) -> None:
    """Assigns a value to each variable."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _read_state(path):
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _is_complete(last, state):
    path = last / state["weights"]
    return path.is_file() and state.get("sha256") in (None, files.sha256(path))


def _to_lists(variables):
    # JSON keeps float32 exactly: each is also a float64, which is written with all its digits.
    return [keras.ops.convert_to_numpy(variable).tolist() for variable in variables]
