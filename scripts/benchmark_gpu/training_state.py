"""Copies, restores and compares the complete state of a training.

The state is the weights, the optimizer and the random generators.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np

State = list[np.ndarray]
States = dict[int, tuple[State, State]]  # {step: (before, after)}

# What one step changes: gradients as the optimizer accumulated them, trained weights, their moving
# averages, and the statistics of batch norm.
GROUPS = ("moments", "weights", "averages", "statistics")


def copy(model: Any) -> State:
    """Returns copies of all variables that a step reads and writes."""
    import keras

    return [keras.ops.convert_to_numpy(v).copy() for v in _variables(model)]


def restore(model: Any, state: State, perturbation: float = 0.0, seed: int = 0) -> None:
    """Sets all variables to a `copy`; multiplies trained weights by 1 + N(0, perturbation)."""
    rng = np.random.default_rng(seed)
    trained = {id(v) for v in model.trainable_variables}
    for variable, value in zip(_variables(model), state, strict=True):
        if perturbation and id(variable) in trained:
            value = value * (1 + perturbation * rng.normal(size=value.shape))
        variable.assign(value.astype(variable.dtype))


def difference(model: Any, before: State, expected: State, actual: State) -> dict[str, float]:
    """Returns, for each of GROUPS, how far a step ended from the expected state.

    The distance is relative to how far the expected step moved the group.
    """
    groups = [_groups(model, state) for state in (before, expected, actual)]
    differences = {}
    for name in GROUPS:
        start, wanted, reached = (group[name] for group in groups)
        moved, distance = np.linalg.norm(wanted - start), np.linalg.norm(reached - wanted)
        differences[name] = float(distance / moved) if moved else 0.0
    return differences


def save(path: Path, losses: list[float], states: States) -> None:
    """Writes losses and {step: (state before, state after)} as .npz, atomically."""
    arrays: dict[str, Any] = {"losses": np.array(losses)}
    for number, (before, after) in states.items():
        arrays |= {f"{number}/before/{i}": array for i, array in enumerate(before)}
        arrays |= {f"{number}/after/{i}": array for i, array in enumerate(after)}
    partial = path.with_name(f"partial-{path.name}")
    np.savez(partial, **arrays)
    os.replace(partial, path)


def load(path: Path) -> tuple[list[float], States]:
    """Reads what `save` wrote."""
    with np.load(path) as file:
        count = sum(key.startswith("0/before/") for key in file.files)
        numbers = sorted({int(key.split("/")[0]) for key in file.files if "/" in key})

        def read(number, when):
            return [file[f"{number}/{when}/{i}"] for i in range(count)]

        states = {number: (read(number, "before"), read(number, "after")) for number in numbers}
        return file["losses"].tolist(), states


def _variables(model):
    return [*model.variables, *model.optimizer.variables]


def _groups(model, state):
    """Sorts a state into {group: one float64 vector}."""
    trained = {id(v) for v in model.trainable_variables}
    averages = {id(v) for v in model.optimizer._model_variables_moving_average}
    weights = {id(v) for v in model.weights}
    arrays = {name: [np.zeros(0)] for name in GROUPS}
    for variable, value in zip(_variables(model), state, strict=True):
        if id(variable) in trained:
            name = "weights"
        elif id(variable) in averages:
            name = "averages"
        elif id(variable) in weights:
            name = "statistics"
        elif "momentum" in variable.path:
            name = "moments"
        else:  # Second moments, rates, counters, and the states of random generators.
            continue
        arrays[name].append(value.astype(np.float64).ravel())
    return {name: np.concatenate(group) for name, group in arrays.items()}
