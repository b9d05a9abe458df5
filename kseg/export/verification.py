"""Verifies exported files against the Keras model: measure, judge, write."""

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

import kseg
from kseg import contract, files, preprocess
from kseg.config import Config
from kseg.data import pipeline
from kseg.errors import InputError
from kseg.export import (
    convert,
    export_page,
    export_report,
    float16_range,
    frame_figures,
    labelled_frames,
    linter,
    onnx_convert,
    onnx_lint,
    quantize_int16x8,
    tflite_metadata,
    thresholds,
)
from kseg.export.compare_with_keras import compare_with_keras
from kseg.export.export_report import Report
from kseg.export.model_converter import ConvertedFile
from kseg.export.profiles import ONNX, Profile, Target
from kseg.labels import LabelSet
from kseg.models.encoders.mit import DotProductAttention
from kseg.runtime import gpu
from kseg.runtime.exported_file import ExportedFile, load

_MAX_PROBLEMS = 12  # Lines in a report.
_FLOAT16_FRAMES = 4  # Frames on which the range of all tensors is measured, without XNNPACK.


@dataclass(frozen=True)
class Checks:
    """How the files are verified.

    config: the run's, with the input size of the files and the data to verify on. split: the split
    of that data. frames, gpu_frames: how many. verify_gpu: None means where there is a Vulkan
    device. allowed_loss: points of IoU; None means the limits of kseg.export.thresholds.
    """

    config: Config
    labels: LabelSet
    split: str
    frames: int
    gpu_frames: int
    verify_gpu: bool | None
    allowed_loss: float | None


def check_targets(
    targets: Iterable[Target], output: str | None, model: keras.Model, checks: Checks
) -> None:
    """Raises InputError for what cannot work, before any conversion, which takes minutes."""
    for target in targets:
        convert.form(target.profile, output)
        if target.profile is ONNX:
            onnx_convert.check_installed()
        if target.precision == "int16x8":
            quantize_int16x8.check_installed()
        if target.profile.name == "gpu-gl" and _has_attention(model):
            raise InputError(
                f"--profile gpu-gl: {checks.config.model} has attention, and TFLite's OpenGL "
                "kernels have neither TRANSPOSE nor BATCH_MATMUL of two computed matrices; "
                "use --profile gpu or gpu-classic"
            )
    if checks.verify_gpu:
        driver, reason = gpu.find_driver()
        if driver is None:
            raise InputError(f"--verify-gpu: {reason}")


def verify(
    model: keras.Model,
    converted: Mapping[Target, ConvertedFile],
    checks: Checks,
    *,
    config_hash: str,
    weights: str,
    dataset: str,
) -> list[dict[str, Any]]:
    """Measures, judges and writes the files, with contract and reports. Returns the reports.

    config_hash and dataset go into the contract: the hash of the run's own config, and the name of
    the data set that the files are verified on. weights: SHA-256 of the run's, for the reports.
    """
    frames = functools.partial(labelled_frames.labelled, checks.config, checks.split, checks.frames)
    data = {target: file.data for target, file in converted.items()}
    comparison = compare_with_keras(model, data, frames(), checks.labels)
    if comparison["keras"]["mean_iou"] is None:
        raise InputError(
            f"{checks.config.data}: every pixel of the {comparison['frames']} frames of "
            f"'{checks.split}' is ignored, so the file cannot be verified; use more --frames"
        )
    first_frame = next(frames())
    reports: list[dict[str, Any]] = []
    runners: dict[str, Callable[[np.ndarray], np.ndarray]] = {}
    for target, file in converted.items():
        report = measure(target, file, comparison, checks)
        report.weights = weights
        judge(report, checks)
        runner = load(file.data)
        packed = pack(file.data, build_contract(report, runner, checks, config_hash, dataset))
        if not np.array_equal(load(packed)(first_frame.image), runner(first_frame.image)):
            raise RuntimeError("the file predicts differently since its contract was embedded")
        export_report.write_file(report, packed, target.path)
        reports.append(report.to_dict())
        runners[report.file] = runner
    folder = next(iter(converted)).path.parent
    worst = frame_figures.worst_frames(model, runners, frames(), reports)
    # Exports of several precisions may run at the same time; each adds its files to the list.
    with files.lock(
        folder, "another kseg.export writes its report", wait=True, name=".export.lock"
    ):
        listed = [*export_report.earlier_reports(folder / "export_report.json", reports), *reports]
        export_report.write_json(folder / "export_report.json", listed)
        export_page.write(folder / "export_report.html", listed, worst, checks.labels)
    return reports


def measure(
    target: Target, converted: ConvertedFile, comparison: Mapping[str, Any], checks: Checks
) -> Report:
    """Lints a file and runs it on the GPU. Returns the Report, not yet judged.

    comparison: what compare_with_keras returned for all files.
    """
    data, measured = converted.data, comparison["files"][target]
    lint = onnx_lint if target.profile is ONNX else linter
    in_float16 = target.precision == "fp16" or target.profile.operators is not None
    limit = thresholds.LIMITS[target.precision]
    is_logits = load(data).output_dtype == "float32"
    return Report(
        file=target.path.name,
        path=str(target.path),
        passed=False,
        profile=target.profile.name,
        precision=target.precision,
        input_size=list(checks.config.size),
        output="logits" if is_logits else "class_map",
        bytes=len(data),
        agreement_limit=limit.agreement,
        loss_limit=limit.loss,
        allowed_loss=checks.allowed_loss,
        problems=[],
        frames=comparison["frames"],
        pixel_agreement=measured["pixel_agreement"],
        keras=comparison["keras"],
        tflite=measured["scores"],
        latency_ms=measured["latency_ms"],
        worst_frames=measured["worst_frames"],
        operators=dict(sorted(lint.operators(data).items())),
        lint=lint.inspect(data, target.profile),
        gpu=run_on_gpu(data, target.profile, checks),
        int8=converted.int8,
        float16=_float16_range(data, checks) if in_float16 else None,
        notes=[],
    )


def judge(report: Report, checks: Checks) -> None:
    """Sets the problems, the verdict and the notes of a measured Report."""
    gpu_required = bool(checks.verify_gpu) and report.profile not in ("cpu", ONNX.name)
    measured = {"pixel_agreement": report.pixel_agreement, "scores": report.tflite}
    problems = [
        *report.lint["problems"],
        *(float16_range.problems(report.float16) if report.float16 else []),
        *thresholds.gpu_problems(report.gpu, gpu_required, checks.allowed_loss),
        *thresholds.accuracy_problems(
            measured, report.keras, report.precision, checks.allowed_loss
        ),
    ]
    report.passed = not problems
    report.problems = problems[:_MAX_PROBLEMS]
    report.notes = export_report.notes_on(report)


def run_on_gpu(tflite: bytes, profile: Profile, checks: Checks) -> dict[str, Any]:
    """Returns what gpu.verify does, or {"verified": False, "reason"} where no GPU can run it."""
    if profile is ONNX:
        not_run = "TensorRT and CUDA are not run here; runners compare them with the CPU"
        return {"verified": False, "reason": not_run}
    if profile.operators is None:
        return {"verified": False, "reason": "made for a CPU"}
    if checks.verify_gpu is False:
        return {"verified": False, "reason": "--no-verify-gpu"}
    driver, reason = gpu.find_driver()
    if driver is None:
        return {"verified": False, "reason": reason}
    manifest, _ = pipeline.open_split(checks.config, checks.split)
    every = max(1, manifest.splits[checks.split].examples // checks.gpu_frames)
    frames = labelled_frames.labelled(checks.config, checks.split, checks.gpu_frames, every)
    return gpu.verify(tflite, list(frames), checks.labels, driver)


def _float16_range(data: bytes, checks: Checks) -> dict[str, Any]:
    frames = labelled_frames.labelled(checks.config, checks.split, _FLOAT16_FRAMES)
    return float16_range.measure(data, (frame.image for frame in frames))


def build_contract(
    report: Report, runner: ExportedFile, checks: Checks, config_hash: str, dataset: str
) -> contract.Contract:
    """Returns the contract of a judged file. runner: the file itself, for its dtypes."""
    gpu_fields = ("verified", "reason", "device", "frames", "pixel_agreement")
    return contract.Contract(
        model=checks.config.model,
        precision=report.precision,
        input_size=checks.config.size,
        input_dtype=runner.input_dtype,
        channel_order="RGB",
        value_range=(0, 255),
        fit=checks.config.fit,
        pad_value=preprocess.PAD_VALUE,
        output_kind=report.output,
        output_dtype=runner.output_dtype,
        output_stride=1,
        labels=checks.labels.to_dict(),
        dataset=checks.labels.name,
        config_hash=config_hash,
        kseg_version=kseg.__version__,
        metrics={
            "data": dataset,
            "split": checks.split,
            "frames": report.frames,
            "pixel_agreement": report.pixel_agreement,
            **report.tflite,
        },
        profile=report.profile,
        allowed_loss=report.allowed_loss,
        gpu={key: report.gpu[key] for key in gpu_fields if key in report.gpu},
    )


def pack(data: bytes, embedded: contract.Contract) -> bytes:
    """Returns the file with its contract and checksum; a .tflite with standard metadata too."""
    data = contract.embed(data, embedded)
    if embedded.profile != ONNX.name:
        # After the contract: its labels follow the model, where repacking would lose them.
        data = tflite_metadata.embed(data, embedded)
    return contract.append_checksum(data)


def _has_attention(model: keras.Model) -> bool:
    return any(isinstance(layer, DotProductAttention) for layer in model.layers)
