"""The values of export_report.html: the measurements of an export and the frames with the lowest
agreement. templates/export.html lays them out.

Reports are the dicts that export writes as FILE.report.json; missing optional values are left out.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kseg import contract, files
from kseg.export.frame_figures import ComparedFrame, frame_figures
from kseg.labels import LabelSet
from kseg.visualize import pages


class FileRow(NamedTuple):
    """One row of the table of exported files. Values that a row lacks are None.

    scores: mean and drivable IoU, (share, difference in points from the row that it is compared
    with).
    """

    name: str
    scores: list[tuple[float | None, float | None]]
    file: str = ""
    indented: bool = False
    passed: bool | None = None
    agreement: float | None = None
    agreement_limit: float | None = None
    gpu_agreement: float | None = None
    gpu_frames: int | None = None
    latency_ms: float | None = None
    bytes: int | None = None


def write(
    path: str | os.PathLike[str],
    reports: Sequence[dict],
    frames: Sequence[ComparedFrame],
    labels: LabelSet,
) -> None:
    """Writes the page. The exported files lie beside `path`."""
    path = Path(path)
    files.write_text(path, page(reports, frames, labels, contracts(path.parent, reports)))


def contracts(folder: Path, reports: Sequence[dict]) -> dict[str, str]:
    """{file name: its contract (JSON text)} of the reports' files that are in the folder."""
    paths = [folder / report["file"] for report in reports]
    texts = {
        path.name: contract.extract(path.read_bytes(), path) for path in paths if path.exists()
    }
    return {name: text for name, text in texts.items() if text}


def page(
    reports: Sequence[dict],
    frames: Sequence[ComparedFrame],
    labels: LabelSet,
    contracts: dict[str, str],
) -> str:
    """Returns the HTML. contracts: {file name: contract's JSON text}."""
    parsed = {name: json.loads(text) for name, text in contracts.items()}
    any_contract: dict = next(iter(parsed.values()), {})
    rejected = sum(not report["passed"] for report in reports)
    verdict = f"{rejected} of {len(reports)} files REJECTED" if rejected else "all files passed"
    names = [_name(report) for report in reports]
    operators = sorted({name for report in reports for name in report["operators"]})
    return pages.render(
        "kseg.export/export.html",
        {
            "title": f"Export of {any_contract.get('model', 'a model')}: {verdict}",
            "frames": max(report["frames"] for report in reports),
            "data": any_contract.get("metrics", {}),
            "reports": list(zip(names, reports, strict=True)),
            "names": names,
            "files": file_rows(reports),
            "classes": list(_classes(reports)),
            "worst_frames": _worst_frames(reports, frames, labels),
            "labels": labels,
            "lint": [(_name(r), _lint_facts(r["lint"])) for r in reports if r.get("lint")],
            "operators": [(o, [r["operators"].get(o, "-") for r in reports]) for o in operators],
            "contracts": {name: json.dumps(values, indent=1) for name, values in parsed.items()},
        },
    )


def file_rows(reports: Sequence[dict]) -> list[FileRow]:
    """Returns the rows of the table: the Keras model first, then each file and its run on a GPU.

    Raises KeyError, TypeError or AttributeError when a report is not one of kseg.export.
    """
    rows = [FileRow("Keras", _scores(reports[0]["keras"]))]
    for report in reports:
        name, gpu = _name(report), report.get("gpu") or {}
        verified = gpu.get("verified")
        rows.append(
            FileRow(
                name,
                _scores(report["tflite"], reference=report["keras"]),
                file=report["file"] if name != report["file"] else "",
                passed=report["passed"],
                agreement=report["pixel_agreement"],
                agreement_limit=report["agreement_limit"],
                gpu_agreement=gpu["pixel_agreement"] if verified else None,
                gpu_frames=gpu["frames"] if verified else None,
                latency_ms=report["latency_ms"],
                bytes=report["bytes"],
            )
        )
        if "gpu" in gpu:
            on_gpu = f"on the GPU, {gpu['frames']} frames"
            rows.append(FileRow(on_gpu, _scores(gpu["gpu"], reference=gpu["cpu"]), indented=True))
            rows.append(FileRow("on the CPU, the same", _scores(gpu["cpu"]), indented=True))
    return rows


def _scores(values, reference=None):
    scores = []
    for name in ("mean_iou", "drivable_iou"):
        value = values.get(name)
        points = None
        if value is not None and reference is not None and reference[name] is not None:
            points = round(100 * (value - reference[name]), 2) + 0.0  # + 0.0: never "-0.00".
        scores.append((value, points))
    return scores


def _classes(reports):
    """Yields (class, IoU of the Keras model and of each file)."""
    columns = [reports[0]["keras"], *(report["tflite"] for report in reports)]
    for key in reports[0]["keras"]:
        if key.startswith("iou/"):
            yield key.removeprefix("iou/"), [scores.get(key) for scores in columns]


def _worst_frames(reports, frames, labels):
    """[(name of a file, its frames)], without files that have none."""
    by_file = [(r, [frame for frame in frames if frame.file == r["file"]]) for r in reports]
    return [
        (_name(report), [frame_figures(frame, labels) for frame in compared])
        for report, compared in by_file
        if compared
    ]


def _lint_facts(lint: dict[str, Any]) -> list[str]:
    facts = [f"{lint['operators']} operators"] if "operators" in lint else []
    if lint.get("delegated") is not None:
        facts.append(f"{lint['delegated']} on the GPU, {lint['left_on_cpu']} left on the CPU")
    problems = lint.get("problems") or []
    return [*facts, "; ".join(map(str, problems)) or "nothing unfit for its target found"]


def _name(report):
    """`gpu fp16`, or the file's name where the report has neither."""
    words = [report[key] for key in ("profile", "precision") if report.get(key)]
    return " ".join(words) or report["file"]
