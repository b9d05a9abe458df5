"""Stage "speed": compilation and frames per second of the training step, beside PyTorch.

The cases run one after the other, alone on the machine, the most important first: XLA selects
kernels by timing them, and several compilations at once slow each other down. Each case is compiled
and timed; the headline cases have a PyTorch counterpart, which is compiled next and then timed
interleaved with kseg. Where kseg does not compile in time, PyTorch is timed alone.
"""

import json
import statistics
import time
from typing import NamedTuple

from benchmark_gpu.children import Child, ChildError
from benchmark_gpu.results import Results
from benchmark_gpu.run import Run

HEADLINES = ("segformer_b0", "deeplab_v3_plus_resnet50")
SECONDS, ROUNDS = 1.0, 5
MEASURE_S = 20  # For one pair: five rounds of a second for each side, and the profile.
# How long PyTorch compiles with imports, before it was measured; and from programs that were kept.
PYTORCH_COMPILE_S, PYTORCH_KEPT_S = 75.0, 20.0
# Passes of a training step through the model: forward, and twice that for the gradients.
PASSES = 3
GOAL = 1.2


class Compiled(NamedTuple):
    """A child process that is ready to be timed. multiply_adds: of a frame; None where unknown."""

    child: Child
    row: dict
    multiply_adds: int | None


def all_cases(tiny: bool = False) -> list[dict]:
    """Returns all cases of kseg, the most important first."""
    if tiny:
        return [_case("segformer_b0", (32, 64), 2, "bfloat16")]
    b0, r50 = HEADLINES
    middle, large, small = (288, 512), (512, 1024), (180, 320)
    b3, mobilenet = "segformer_b3", "deeplab_v3_plus_mobilenet_v2"
    first = [_case(name, middle, 16, "bfloat16") for name in (b0, r50)]
    first += [_case(name, middle, 16, "tf32") for name in (b0, r50)]
    first += [_case(name, middle, 16, "bfloat16") for name in (mobilenet, b3)]
    first += [_case(name, small, 8, "bfloat16") for name in (b0, r50)]
    first += [_case(name, large, 8, "bfloat16") for name in (b0, r50)]
    grid = [
        _case(name, size, frames, precision)
        for size in (middle, large, small)
        for frames in (16, 8)
        for precision in ("bfloat16", "tf32")
        for name in (b0, r50, mobilenet, b3)
    ]
    return first + [case for case in grid if case not in first]


def _case(model, size, frames, precision):
    return {"model": model, "size": list(size), "batch": frames, "precision": precision}


def has_counterpart(case: dict, tiny: bool = False) -> bool:
    """Returns whether a case is also timed with PyTorch."""
    headline = case["size"] == [288, 512] and case["batch"] == 16
    return case["model"] in HEADLINES and (headline or tiny)


def label(case: dict) -> str:
    size = "x".join(map(str, case["size"]))
    return f"{case['model']} {size} b{case['batch']} {case['precision']}"


def stage(run: Run) -> None:
    """Measures as many cases as can end before the deadline."""
    has_pytorch = run.has("torch") and run.has("transformers")
    if not has_pytorch:
        run.results.note("not compared with PyTorch: torch or transformers is not installed")
    compile_s: dict[str, float] = {}  # The longest so far.
    pytorch_s = PYTORCH_KEPT_S if (run.compiled / "pytorch").is_dir() else PYTORCH_COMPILE_S
    expected_s = {"kseg": 0.0, "PyTorch": 0.0 if run.tiny else pytorch_s}
    skipped = []
    for case in all_cases(run.tiny):
        pair = has_pytorch and has_counterpart(case, run.tiny)
        sides: dict[str, Compiled] = {}
        try:
            for side in ("kseg", "PyTorch") if pair else ("kseg",):
                left_s = run.seconds_left() - MEASURE_S
                if left_s < expected_s[side]:
                    skipped.append(f"{side} {label(case)}")
                    continue
                limit = run.deadline - MEASURE_S
                # Of little time kseg gets all: of half of it, neither side would compile.
                if pair and side == "kseg" and left_s > 2 * expected_s["PyTorch"]:
                    limit -= expected_s["PyTorch"] + 1
                start = time.monotonic()
                compiled = compile_case(run, case, side, limit)
                compile_s[side] = max(compile_s.get(side, 0.0), time.monotonic() - start)
                expected_s |= compile_s
                if compiled:
                    sides[side] = compiled
            if sides:
                measure(run, case, sides)
        finally:
            for compiled in sides.values():
                compiled.child.stop()  # Its memory is needed by the next case.
    if skipped:
        names = ", ".join(skipped[:4]) + (f" and {len(skipped) - 4} more" if skipped[4:] else "")
        run.results.note(f"not started, no time left: {names}")


def compile_case(run: Run, case: dict, side: str, deadline: float) -> Compiled | None:
    """Builds and compiles one side of a case; None where it fails or reaches the deadline."""
    identity = {"side": side} | case | {"size": "x".join(map(str, case["size"]))}
    row = run.results.row(**identity)
    argument = json.dumps(case | {"side": side})
    child = run.start(f"speed-{side}-{label(case)}", "benchmark_gpu.speed_child", argument)
    start = time.monotonic()
    facts: dict = {}
    try:
        while "compile_s" not in facts:
            results = child.next_results(deadline)
            if not results:
                raise ChildError("ended before it had compiled")
            for result in results:
                facts |= result
    except ChildError as error:
        if child.process.poll() is None:
            seconds = time.monotonic() - start
            run.results.update(row, **{"compile s": f"not compiled after {seconds:.0f}"})
        else:
            run.results.problem(f"{side} {label(case)}: {error}")
        child.stop()
        return None
    values = {"compile s": facts["compile_s"], "parameters M": facts["parameters"] / 1e6}
    run.results.update(row, **values)
    return Compiled(child, row, facts.get("multiply_adds"))


def measure(run: Run, case: dict, sides: dict[str, Compiled]) -> None:
    """Times the sides of a case, interleaved where there are two, and completes their rows."""
    seconds = 0.2 if run.tiny else SECONDS
    times: dict[str, list] = {side: [] for side in sides}
    memory: dict[str, int | None] = {}
    try:
        for _ in range(ROUNDS if len(sides) > 1 else 2):
            for side, compiled in sides.items():
                result = compiled.child.ask(f"time {seconds}", run.deadline)
                times[side].append(result["times_ms"])
                memory[side] = result["peak_memory_bytes"]
    except ChildError as error:
        run.results.problem(f"{label(case)}: {error}")
    peak = run.results.values["machine"].get("product_tflops", {}).get(case["precision"])
    for side, rounds in times.items():
        if rounds:
            cells = speeds(rounds, case["batch"], sides[side].multiply_adds, peak)
            peak_bytes = memory[side]
            cells["peak memory GB"] = peak_bytes / 1e9 if peak_bytes else "-"
            run.results.update(sides[side].row, **cells)
    if len(times) > 1 and all(times.values()):
        compare(run.results, case, times["kseg"], times["PyTorch"])
    if "kseg" in sides and has_counterpart(case, run.tiny):
        _note_profile(run, case, sides["kseg"].child)


def speeds(
    rounds: list[list[float]], frames: int, multiply_adds: int | None, peak: float | None
) -> dict:
    """Returns the cells of a row.

    rounds: milliseconds per step. multiply_adds: of one frame. peak: TFLOP/s of a matrix product.
    """
    every = [ms for times in rounds for ms in times]
    median = statistics.median(every)
    cells: dict = {
        "step min ms": min(every),
        "step median ms": median,
        "frames/s": 1000 * frames / median,
    }
    if multiply_adds:
        cells["TFLOP/s"] = 2 * PASSES * multiply_adds * frames / (median / 1000) / 1e12
        cells["% of a matrix product"] = 100 * cells["TFLOP/s"] / peak if peak else "-"
    return cells


def compare(
    results: Results, case: dict, kseg: list[list[float]], pytorch: list[list[float]]
) -> None:
    """Notes the ratio of step times PyTorch / kseg: above 1 where kseg is faster."""
    pairs = zip(kseg, pytorch, strict=False)
    ratios = [statistics.median(b) / statistics.median(a) for a, b in pairs]
    ratio, fastest = statistics.median(ratios), min(map(min, pytorch)) / min(map(min, kseg))
    results.note(
        f"{label(case)}, interleaved with PyTorch: kseg has {ratio:.2f} times its rate (median of "
        f"{len(ratios)} rounds, {min(ratios):.2f} to {max(ratios):.2f}; fastest steps "
        f"{fastest:.2f}); goal {GOAL}: {'reached' if ratio >= GOAL else 'missed'}"
    )


def _note_profile(run: Run, case: dict, child: Child) -> None:
    """Notes the operations of kseg's step that take most time."""
    try:
        operations = child.ask("profile", run.deadline)["operations"]
    except ChildError as error:
        run.results.note(f"{label(case)}: not profiled: {error}")
        return
    if operations:
        shares = ", ".join(f"{name} {ms:.2f}" for name, ms in operations[:12])
        run.results.note(f"{label(case)}, ms per step by operation: {shares}")
