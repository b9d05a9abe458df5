"""Stage "right": training steps on the device compared with the same steps on the CPU.

The CPU trains STEPS steps with everything that kseg's training has: AdamW, moving average,
clipping, class weights, ignored pixels, dropout and batch norm. At each step in CHECKED, the device
starts from the CPU's exact state (weights, optimizer, random generators) and takes this one step.
Then it takes all STEPS on its own.

Single steps are compared because training is chaotic. Adam divides a gradient by its own magnitude,
so a weight whose gradient is mostly rounding error moves by a full step in a random direction.
After 20 independent steps, two correct float32 trainings of a model with batch norm can have
unrelated updates: DeepLabV3+ with weights perturbed by one rounding error (2**-24) ends 0.9 update
sizes away. How much a rounding error changes one step depends on the model, its state and the error
(whether it changes the sign of a unit before its ReLU), so the CPU measures that too: it repeats
each checked step from weights perturbed by one rounding error of each precision, DRAWS times. The
device may differ from the CPU by FACTOR times the largest effect of these perturbations.

    python -m benchmark_gpu.right cpu FAMILY PRECISION,... FOLDER
    python -m benchmark_gpu.right device FAMILY PRECISION FOLDER
"""

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmark_gpu import steps, training_state
from benchmark_gpu.children import ChildError, emit, stream_all
from benchmark_gpu.results import Results
from benchmark_gpu.run import Run
from benchmark_gpu.training_state import GROUPS, States
from kseg.preprocess import Size

# The most important first, because the time limit may cut off the last.
FAMILIES = {
    "segformer": "segformer_b0",
    "deeplab_v3_plus": "deeplab_v3_plus_mobilenet_v2",
    "unet": "unet_mobilenet_v2",
    "pspnet": "pspnet_mobilenet_v2",
    "fcn": "fcn_mobilenet_v2",
}
STEPS, CHECKED = 20, (0, 1, 4, 9, 19)
SIZE, FRAMES = (64, 96), 4
# Half a unit in the last place of the numbers that are multiplied. In order of importance.
ROUNDING = {"float32": 2.0**-24, "bfloat16": 2.0**-9, "tf32": 2.0**-11}
# Of one step of U-Net, eight draws moved the moments by 0.00003 to 0.0085 of their step.
DRAWS = 5
FACTOR = 10
# Differences that are always allowed: of the loss, and relative to how far a step moves a group.
FLOOR = {"float32": 1e-4, "tf32": 2e-2, "bfloat16": 5e-2}
# Children that compile at the same time slow each other down.
AT_ONCE = {"cpu": 2, "device": 3}


def stage(run: Run) -> None:
    """Trains the families on the CPU and on the device, each in its own process."""
    families = list(FAMILIES)[: 1 if run.tiny else None]
    precisions = list(ROUNDING)[: 1 if run.tiny else None]
    with tempfile.TemporaryDirectory(dir=run.work) as folder:

        def starter(side, family, precision):
            # Without autotuning: selecting the fastest kernels would take most of the time.
            flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_autotune_level=0"
            variables = {"XLA_FLAGS": flags}
            if side == "cpu":
                variables |= {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "-1"}
            of_child = ",".join(precisions) if side == "cpu" else precision
            arguments = ("benchmark_gpu.right", side, family, of_child, folder)
            return lambda: run.start(f"right-{family}-{side}-{precision}", *arguments, **variables)

        names = [("cpu", family, "float32") for family in families]
        names += [("device", family, p) for p in precisions for family in families]
        jobs = {name: starter(*name) for name in names}
        comparison = Comparison(run.results)
        for (side, family, precision), result in stream_all(jobs, AT_ONCE, run.deadline):
            comparison.add(side, family, precision, result)
            if side == "cpu" and isinstance(result, ChildError):
                # The children on the device fail with the empty file instead of waiting for it.
                Path(folder, f"{family}.npz").touch()
        comparison.finish()


class Comparison:
    """Collects results of both sides, and keeps one row per family and precision up to date."""

    def __init__(self, results: Results):
        self.results = results
        self.rows: dict[tuple, dict] = {}
        self.not_started: list[str] = []
        self.cpu: dict[str, dict] = {}  # {family: {"losses", "perturbed": {precision: {step: }}}}
        self.device: dict[tuple, dict] = {}  # {(family, precision): {"checked": {step: }, ...}}

    def add(self, side: str, family: str, precision: str, result: dict | ChildError | None) -> None:
        """result: as stream_all yields it."""
        if result is None:
            self.not_started.append(f"{family} {precision} on the {side}")
        elif isinstance(result, ChildError):
            self.results.problem(f"{family} {precision} on the {side}: {result}")
        elif side == "cpu":
            cpu = self.cpu.setdefault(family, {"perturbed": {}})
            cpu["perturbed"] |= result.pop("perturbed", {})
            cpu |= result
            for key in self.device:
                if key[0] == family:
                    self._update(*key)
        else:
            device = self.device.setdefault((family, precision), {"checked": {}})
            device["checked"] |= result.pop("checked", {})
            device |= result
            self._update(family, precision)

    def finish(self) -> None:
        """Reports what was not compared."""
        compared = {family for family, _ in self.device}
        for family, cpu in self.cpu.items():
            if "losses" in cpu and family not in compared:
                losses = " ".join(f"{loss:.5f}" for loss in cpu["losses"])
                self.results.note(f"{family}: no step on the device; losses on the CPU {losses}")
        if self.not_started:
            self.results.note(f"not started, no time left: {', '.join(self.not_started)}")

    def _update(self, family, precision):
        if (family, precision) not in self.rows:
            self.rows[family, precision] = self.results.row(family=family, precision=precision)
        device = self.device[family, precision]
        cpu = self.cpu.get(family, {"perturbed": {}})
        perturbed, checked = cpu["perturbed"].get(precision), device["checked"]
        values = {"device": device["device"], "first step s": device["first_step_s"]}
        if "losses" in cpu:
            values |= {"CPU's loss 1": cpu["losses"][0], "CPU's last loss": cpu["losses"][-1]}
        if "losses" in device:
            values |= {"loss 1": device["losses"][0], "last loss": device["losses"][-1]}
        if perturbed and checked:
            problems = find_problems(checked, perturbed, precision)
            lines = [f"{family} {precision}: {problem}" for problem in problems]
            for line in (line for line in lines if line not in self.results.stage["problems"]):
                self.results.problem(line)
            values["verdict"] = "wrong" if problems else "right"
            values["steps compared"] = f"{len(checked)} of {len(CHECKED)}"
            for name in ("loss", *GROUPS):
                values[name] = max(step[name] for step in checked.values())
        self.results.update(self.rows[family, precision], **values)


def find_problems(checked: dict, perturbed: dict, precision: str) -> list[str]:
    """Returns the differences that rounding does not explain.

    checked: {step: `compare`} of the device; perturbed: of the CPU with this precision's
    perturbations.
    """
    problems = []
    for number, values in checked.items():
        for name, value in values.items():
            limit = max(FLOOR[precision], FACTOR * perturbed[number][name])
            if not value <= limit:  # NaN too.
                problems.append(
                    f"step {int(number) + 1}: {name} off by {value:.2g}, limit {limit:.2g}"
                )
    return problems


def build(name: str, precision: str = "float32", size: Size = SIZE) -> Any:
    """Returns the compiled model and its optimizer, with the same initial weights everywhere."""
    import keras

    keras.utils.set_random_seed(0)
    model = steps.compiled_model(
        size=size,
        model=name,
        encoder_alpha=0.35,
        decoder_channels=64,
        batch_size=FRAMES,
        loss="cross_entropy+dice",
        class_weights="1,2,0.5",
        optimizer="adamw",
        weight_decay=0.01,
        schedule="constant",
        learning_rate=1e-3,
        clip_norm=1.0,
        ema_momentum=0.9,
        **steps.precision_settings(precision),
    )
    model.optimizer.build(model.trainable_variables)
    rng = np.random.default_rng(0)
    for weight in model.trainable_variables:
        if len(weight.shape) > 1:  # Vectors start as constants.
            inputs = np.prod(weight.shape[: 2 if "depthwise" in weight.path else -1])
            weight.assign(rng.normal(0, (2 / inputs) ** 0.5, weight.shape))
    return model


def train_step(model: Any, number: int) -> float:
    """Takes step `number` on its own batch. Returns the loss."""
    model.reset_metrics()
    images, masks = steps.batch(model.input_shape[1:3], FRAMES, seed=number)
    return float(model.train_on_batch(images, masks, return_dict=True)["loss"])


def train_reference(model: Any) -> tuple[list[float], States]:
    """Trains on the CPU. Returns (losses, {step: (state before, state after)})."""
    losses, states = [], {}
    for number in range(STEPS):
        before = training_state.copy(model) if number in CHECKED else None
        losses.append(train_step(model, number))
        if before:
            states[number] = before, training_state.copy(model)
    return losses, states


def effect_of_rounding(
    model: Any, losses: list[float], states: States, rounding: float
) -> dict[int, dict[str, float]]:
    """Returns {step: the largest differences of DRAWS perturbed repetitions}."""
    draws = [dict(compare(model, losses, states, rounding, seed)) for seed in range(DRAWS)]
    return {
        number: {name: max(draw[number][name] for draw in draws) for name in draws[0][number]}
        for number in states
    }


def compare(
    model: Any, losses: list[float], states: States, perturbation: float = 0.0, seed: int = 0
) -> Iterator[tuple[int, dict[str, float]]]:
    """Repeats the checked steps from the reference's states. Yields (step, differences).

    differences: {"loss": relative difference, and those of training_state.difference}.
    """
    for number, (before, after) in states.items():
        training_state.restore(model, before, perturbation, seed)
        loss = train_step(model, number)
        relative = abs(loss - losses[number]) / abs(losses[number])
        actual = training_state.copy(model)
        yield number, {"loss": relative} | training_state.difference(model, before, after, actual)


def main(side: str, family: str, precision: str, folder: str) -> None:
    """One child process: the CPU's writes FOLDER/FAMILY.npz, the device's waits for it.

    precision: for the CPU, which computes in float32, all whose rounding it shall measure.
    """
    path, start = Path(folder) / f"{family}.npz", time.perf_counter()
    model = build(FAMILIES[family], precision if side == "device" else "float32")
    if side == "cpu":
        losses, states = train_reference(model)
        training_state.save(path, losses, states)
        emit(losses=losses)
        for name in precision.split(","):
            emit(perturbed={name: effect_of_rounding(model, losses, states, ROUNDING[name])})
        return
    initial = training_state.copy(model)
    train_step(model, 0)  # Compiles while the CPU is still training.
    emit(first_step_s=time.perf_counter() - start, device=steps.device()["device"])
    training_state.restore(model, initial)
    while not path.exists():
        time.sleep(0.2)
    losses, states = training_state.load(path)
    for number, differences in compare(model, losses, states):
        emit(checked={number: differences})
    training_state.restore(model, states[0][0])
    emit(losses=[train_step(model, number) for number in range(STEPS)])


if __name__ == "__main__":
    main(*sys.argv[1:])
