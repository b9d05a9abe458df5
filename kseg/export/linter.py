"""What a target will do with a .tflite, told without the target: a necessary check, not a proof.

Whether the answers are right only a run tells: kseg.export.agreement on the CPU, kseg.runtime.gpu.
"""

from collections import Counter
from typing import NamedTuple

from kseg.export import delegate_rules, tflite_graph
from kseg.export.profiles import PROFILES

_MAX_RANK = 4
# They appear when a dilated convolution was not recognised; every target pays for them.
_SPLITTING = ("SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND")


class Finding(NamedTuple):
    """One operator that is refused or left on the CPU; layer as in graph.Operator."""

    operator: str
    layer: str
    why: str
    remedy: str

    def __str__(self):
        return f"{self.operator} ({self.layer}): {self.why}; {self.remedy}"


def operators(tflite):
    """Returns a Counter of the operator names in the file (bytes)."""
    return Counter(op.name for ops in tflite_graph.read(tflite) for op in ops)


def problems(tflite, profile=PROFILES["cpu"]):
    """Returns what makes the file unfit for the target, a list of lines; empty: all is well."""
    return inspect(tflite, profile)["problems"]


def inspect(tflite, profile, where="model"):
    """Returns {"profile", "operators", "delegated", "left_on_cpu", "partitions", "largest",
    "problems"}.

    operators, delegated and left_on_cpu are counts; delegated and what follows are what the GPU
    delegate is predicted to do, None for a CPU. partitions counts groups of either kind, largest
    the operators of the largest on the GPU: TFLite delegates that alone unless told otherwise, and
    LiteRT's accelerator refuses the file unless it is all. problems are lines that name operator,
    layer and remedy. Raises InputError, naming `where`, when the bytes are no .tflite.
    """
    subgraphs = tflite_graph.read(tflite, where)
    everything = [op for ops in subgraphs for op in ops]
    found = [finding for op in everything for finding in _unfit_anywhere(op)]
    report = {"profile": profile.name, "operators": len(everything)}
    report |= dict.fromkeys(("delegated", "left_on_cpu", "partitions", "largest"))
    if profile.operators is not None:
        live = [op for op in subgraphs[0] if not _is_weight(op)]
        refused = {id(op): delegate_rules.refusal(op, profile) for op in live}
        parts = partitions(live, lambda op: refused[id(op)] is None)
        sizes = [len(ops) for taken, ops in parts if taken]
        report["delegated"], report["largest"] = sum(sizes), max(sizes, default=0)
        report["left_on_cpu"] = len(live) - report["delegated"]
        report["partitions"] = len(parts)
        known = {(f.operator, f.layer) for f in found}
        for op in live:
            if refused[id(op)] and (op.name, op.layer) not in known:
                found.append(Finding(op.name, op.layer, *refused[id(op)]))
    report["problems"] = _lines(found)
    return report


def partitions(ops, taken):
    """Returns [(taken, operators), ...]: the groups that run one after the other.

    As TFLite's PartitionGraphIntoIndependentNodeSubsets: each group takes every operator of its
    kind whose inputs are ready, so a group ends only where it waits for the other kind.
    """
    made = {t.index for op in ops for t in op.outputs}
    ready, waiting, groups = set(), list(ops), []

    def runs(op):
        return all(t.index in ready or t.index not in made for t in op.inputs)

    while waiting:
        kind = taken(next(op for op in waiting if runs(op)))
        group = []
        for op in waiting:  # In the file's order, so one pass finds all.
            if taken(op) == kind and runs(op):
                group.append(op)
                ready |= {t.index for t in op.outputs}
        inside = {id(op) for op in group}
        waiting = [op for op in waiting if id(op) not in inside]
        groups.append((kind, group))
    return groups


def _unfit_anywhere(op):
    if op.name.startswith("CUSTOM"):
        why = "not a builtin operator, no phone has it"
        yield Finding(op.name, op.layer, why, "write the layer with Keras layers that convert")
    if op.name in _SPLITTING:
        yield Finding(op.name, op.layer, "splits the graph", delegate_rules.REMEDIES[op.name])
    for tensor in op.outputs:
        if len(tensor.shape) > _MAX_RANK:
            why = f"{tensor.name} has rank {len(tensor.shape)}, delegates stop at {_MAX_RANK}"
            yield Finding(op.name, op.layer, why, delegate_rules.RANK_REMEDY)
    for tensor in op.runtime_inputs + op.outputs:
        if tensor.dynamic:
            why = f"{tensor.name} has a dynamic shape"
            yield Finding(op.name, op.layer, why, "export with a static size and batch 1")
        if tensor.dtype == "INT64":
            why = f"{tensor.name} is INT64"
            yield Finding(op.name, op.layer, why, "use int32 (tf.argmax: output_type=tf.int32)")


def _is_weight(op):
    """fp16 weights are constants behind DEQUANTIZE, which delegates take away."""
    return op.name == "DEQUANTIZE" and not op.runtime_inputs


def _lines(found):
    """Each distinct line once, with how often it occurs."""
    counts = Counter(map(str, found))
    return [line if n == 1 else f"{n} x {line}" for line, n in counts.items()]
