"""The report of an exported file: FILE.report.json, and export_report.json for a folder."""

import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kseg import files
from kseg.errors import user_path


@dataclass
class Report:
    """What was measured of one file, and whether it passed. The fields are the keys of the JSON."""

    file: str
    path: str
    passed: bool
    profile: str
    precision: str
    input_size: list[int]  # (height, width)
    output: str  # class_map or logits
    bytes: int
    agreement_limit: float
    loss_limit: float
    allowed_loss: float | None  # points of IoU, from --allow-loss
    problems: list[str]  # why the file was rejected
    frames: int
    pixel_agreement: float  # with the Keras model, 0..1
    keras: dict[str, Any]  # scores of the model: kseg.evaluation.scores.compute_scores
    tflite: dict[str, Any]  # scores of the file on the same frames
    latency_ms: float  # median on one thread of this CPU
    worst_frames: list[dict[str, Any]]  # [{"key", "agreement"}]
    operators: dict[str, int]
    lint: dict[str, Any]  # kseg.export.linter.inspect
    gpu: dict[str, Any]  # kseg.runtime.gpu.verify
    int8: dict[str, Any] | None  # kseg.export.quantize.search, and "calibration_frames"
    float16: dict[str, Any] | None  # kseg.export.float16_range.measure, where that matters
    notes: list[str]
    weights: str = ""  # SHA-256 of the run's weights file.

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def notes_on(report: Report) -> list[str]:
    """Returns lines for people about what is no problem but worth knowing."""
    notes = []
    if report.profile != "cpu":
        if report.gpu["verified"]:
            notes.append(f"ran on a GPU: {report.gpu['device']}")
        else:
            notes.append(f"not verified on a GPU: {report.gpu['reason']}")
        if report.profile.startswith("gpu-"):
            notes.append(
                "the classic delegate itself was not run, because no Python wheel has it; lint "
                "compared the file with its operator tables"
            )
    if report.int8:
        notes += _int8_notes(report.int8)
    if report.precision == "int8" and not report.passed:
        notes.append(
            "--precision int16x8 keeps 16 bits of activations: closer to Keras, and ten times "
            "slower or more on CPUs"
        )
    if report.allowed_loss is not None:
        notes.append(f"a loss of {report.allowed_loss:g} points was allowed")
    return notes


def _int8_notes(int8: dict[str, Any]) -> list[str]:
    notes = [f"calibrated on {int8['calibration_frames']} frames"]
    if int8["no_fast_kernel"]:
        names = ", ".join(f"{count} {name}" for name, count in int8["no_fast_kernel"].items())
        notes.append(f"in float because LiteRT has no fast int8 kernels for them: {names}")
    if int8["in_float"]:
        names = ", ".join(f"{op['operator']} ({op['layer']})" for op in int8["in_float"])
        notes.append(f"in float because int8 loses too much: {names}, and operators that read them")
    return notes


def write_file(report: Report, data: bytes, path: Path) -> None:
    """Writes a .tflite or .onnx and its report; updates the report's file, path, bytes and notes.

    A rejected file is written as NAME.rejected.tflite (.onnx). A file that passed removes the
    rejected one of an earlier export.
    """
    rejected = path.with_suffix(f".rejected{path.suffix}")
    written = path if report.passed else rejected
    with user_path(written.parent):
        written.parent.mkdir(exist_ok=True)
    if report.passed:
        rejected.unlink(missing_ok=True)
        Path(f"{rejected}.report.json").unlink(missing_ok=True)
    elif path.is_file():
        report.notes.append(f"{path} is of an earlier export, not of this one")
    report.file, report.path, report.bytes = written.name, str(written), len(data)
    with files.atomic_write(written) as partial:
        partial.write_bytes(data)
    write_json(Path(f"{written}.report.json"), report.to_dict())


def write_json(path: Path, document: Any) -> None:
    files.write_text(path, json.dumps(document, indent=1, allow_nan=False) + "\n")


def earlier_reports(path: Path, reports: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the reports of `path` (export_report.json) that still hold beside new `reports`.

    Those are of files that exist, are not among the new ones, and were made from the same weights
    and checked on the same frames, which the scores of the Keras model identify.
    """
    try:
        earlier = json.loads(path.read_text())
        new_files = {report["file"] for report in reports}
        identity = ("input_size", "frames", "keras")
        return [
            report
            for report in earlier
            if report["file"] not in new_files
            and (path.parent / report["file"]).is_file()
            and all(report[key] == reports[0][key] for key in identity)
            and report.get("weights") == reports[0].get("weights")
        ]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError):
        print(f"{path}: was not written by kseg.export; it is replaced", file=sys.stderr)
        return []
