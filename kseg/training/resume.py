"""Going on where a run was interrupted: RUN/last/ and RUN/history.csv, kept by one callback.

RUN/last/state.json      how far the run is, and the name of its weights
RUN/last/previous.json   the same of the checkpoint before
RUN/last/*.weights.h5    model and optimizer of both

A kill at any moment leaves whole files: weights are renamed into place before the state that
names them, and the line in history.csv is written before the state that counts it.
"""

import json
import sys
from pathlib import Path

import keras

from kseg.errors import InputError
from kseg.files import sha256

START = {"epochs_done": 0, "step": 0, "best": -1.0, "seconds": 0.0, "weights": None}


def resume_state(run):
    """Returns where RUN goes on: {"epochs_done", "step", "best", "weights", ...}; START when new.

    A damaged checkpoint is passed over for the one before, and said so. Raises InputError when
    there are checkpoints but no whole one.
    """
    last = Path(run) / "last"
    for name in ("state.json", "previous.json"):
        state = _read_state(last / name)
        if state and _is_whole(last, state):
            return START | state
        if (last / name).is_file():
            print(f"{last / name}: its checkpoint is damaged, passed over", file=sys.stderr)
    if list(last.glob("*.json")):
        raise InputError(f"{last}: no whole checkpoint; remove {run} to begin anew")
    return START


def restore(run, model, state):
    """Puts weights, optimizer, schedule and random state of `state` into a compiled model.

    Raises InputError when they are of another model.
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
                f"{path}: does not fit the model of this run ({reason}); resume with the kseg "
                f"that wrote it, or remove {run} to begin anew"
            ) from error
        assign_all(random_state(model), state["random"])


def _read_state(path):
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _is_whole(last, state):
    path = last / state["weights"]
    return path.is_file() and state.get("sha256") in (None, sha256(path))


def random_state(model):
    """The variables of a model that are no weights: states of its seed generators."""
    known = {id(w) for w in model.weights}
    return [v for v in model.variables if id(v) not in known]


def to_lists(variables):
    # JSON keeps float32 to the bit: each is a float64 too, written with all its digits.
    return [keras.ops.convert_to_numpy(v).tolist() for v in variables]


def assign_all(variables, values):
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
