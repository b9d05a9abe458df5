"""Predicts which operators of a .tflite a target runs, without that target.

A necessary check. Whether the predictions of the file are right only a run can show:
kseg.export.compare_with_keras on the CPU, kseg.runtime.gpu on a GPU.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from kseg.export import delegate_rules, tflite_graph
from kseg.export.profiles import PROFILES, Profile
from kseg.export.tflite_graph import Operator

_MAX_RANK = 4
# The converter writes them for a dilated convolution that it does not recognise. They are slow on
# every target.
_DILATION_OPERATORS = ("SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND")


class Finding(NamedTuple):
    """An operator that the target refuses or leaves to the CPU. layer: Operator.layer."""

    operator: str
    layer: str
    why: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.operator} ({self.layer}): {self.why}; {self.remedy}"


def operators(tflite: bytes) -> Counter[str]:
    """Counts the operators of a file by name."""
    return Counter(op.name for ops in tflite_graph.read(tflite) for op in ops)


def problems(tflite: bytes, profile: Profile = PROFILES["cpu"]) -> list[str]:
    """Returns lines on what makes the file unfit for the target; empty when it is fit."""
    return inspect(tflite, profile)["problems"]


def inspect(tflite: bytes, profile: Profile, where: str = "model") -> dict[str, Any]:
    """Lints a file. Returns a dict with

    "profile", "operators": name of the profile, number of operators;
    "delegated", "left_on_cpu": operators that the GPU delegate is predicted to run or not;
    "partitions", "largest": groups of consecutive operators of either kind, and the operators of
    the largest group on the GPU. By default TFLite delegates only that group, and LiteRT's
    accelerator refuses a file unless the group is all of it;
    "problems": lines that name operator, layer and remedy.

    From "delegated" to "largest" the values are None for a CPU. Raises InputError, naming `where`,
    when the bytes are not a .tflite.
    """
    subgraphs = tflite_graph.read(tflite, where)
    all_ops = [op for ops in subgraphs for op in ops]
    findings = [finding for op in all_ops for finding in _unfit_anywhere(op)]
    report: dict[str, Any] = {"profile": profile.name, "operators": len(all_ops)}
    report |= dict.fromkeys(("delegated", "left_on_cpu", "partitions", "largest"))
    if profile.operators is not None:
        counts, refused = _predict_delegation(subgraphs[0], profile)
        report |= counts
        reported = {(finding.operator, finding.layer) for finding in findings}
        findings += [f for f in refused if (f.operator, f.layer) not in reported]
    report["problems"] = _lines(findings)
    return report


def _predict_delegation(
    ops: Sequence[Operator], profile: Profile
) -> tuple[dict[str, int], list[Finding]]:
    """Returns the counts of `inspect` for a GPU, and the operators that its delegate refuses."""
    ops = [op for op in ops if not _is_weight(op)]
    refusals = {id(op): delegate_rules.refusal(op, profile) for op in ops}
    groups = partitions(ops, lambda op: refusals[id(op)] is None)
    gpu_sizes = [len(group) for on_gpu, group in groups if on_gpu]
    counts = {
        "delegated": sum(gpu_sizes),
        "left_on_cpu": len(ops) - sum(gpu_sizes),
        "partitions": len(groups),
        "largest": max(gpu_sizes, default=0),
    }
    refused = ((op, refusals[id(op)]) for op in ops)
    return counts, [Finding(op.name, op.layer, *refusal) for op, refusal in refused if refusal]


def partitions(
    ops: Sequence[Operator], is_delegated: Callable[[Operator], bool]
) -> list[tuple[bool, list[Operator]]]:
    """Returns [(is delegated, operators), ...]: the groups in which a file runs, in order.

    As TFLite's PartitionGraphIntoIndependentNodeSubsets: a group takes every operator of its kind
    whose inputs are computed, so it ends only where it needs a result of the other kind.
    """
    produced = {t.index for op in ops for t in op.outputs}
    computed: set[int] = set()
    waiting, groups = list(ops), []

    def can_run(op: Operator) -> bool:
        return all(t.index in computed or t.index not in produced for t in op.inputs)

    while waiting:
        kind = is_delegated(next(op for op in waiting if can_run(op)))
        group = []
        for op in waiting:  # The file is in execution order, so one pass finds all.
            if is_delegated(op) == kind and can_run(op):
                group.append(op)
                computed |= {t.index for t in op.outputs}
        in_group = {id(op) for op in group}
        waiting = [op for op in waiting if id(op) not in in_group]
        groups.append((kind, group))
    return groups


def _unfit_anywhere(op: Operator) -> Iterator[Finding]:
    """Problems on every target."""
    if op.name.startswith("CUSTOM"):
        why = "not a builtin operator, no phone has it"
        yield Finding(op.name, op.layer, why, "build the layer from Keras layers that convert")
    if op.name in _DILATION_OPERATORS:
        yield Finding(op.name, op.layer, "splits the graph", delegate_rules.REMEDIES[op.name])
    for tensor in op.outputs:
        if len(tensor.shape) > _MAX_RANK:
            why = f"{tensor.name} has rank {len(tensor.shape)}, delegates take at most {_MAX_RANK}"
            yield Finding(op.name, op.layer, why, delegate_rules.RANK_REMEDY)
    for tensor in op.runtime_inputs + op.outputs:
        if tensor.dynamic:
            why = f"{tensor.name} has a dynamic shape"
            yield Finding(op.name, op.layer, why, "export with a static size and batch 1")
        if tensor.dtype == "INT64":
            why = f"{tensor.name} is INT64"
            yield Finding(op.name, op.layer, why, "use int32 (tf.argmax: output_type=tf.int32)")


def _is_weight(op: Operator) -> bool:
    """Whether it only converts fp16 weights to float32; delegates remove such a DEQUANTIZE."""
    return op.name == "DEQUANTIZE" and not op.runtime_inputs


def _lines(findings: Iterable[Finding]) -> list[str]:
    """Each distinct line once, with its count."""
    counts = Counter(map(str, findings))
    return [line if n == 1 else f"{n} x {line}" for line, n in counts.items()]
