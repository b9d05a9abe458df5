"""The proof of an exported file: converted, linted, run on CPU and GPU, judged, written, reported.

A report (FILE.report.json; export_report.json lists those of a folder) has
  file, profile, precision, input_size, output, bytes, passed, problems (why it was rejected)
  frames, keras, tflite (scores), pixel_agreement, agreement_limit, loss_limit, allowed_loss
  worst_frames [{"key", "agreement"}], latency_ms, operators {name: count}
  lint (kseg.export.linter.inspect), gpu (kseg.runtime.gpu.verify)
  int8 (kseg.export.quantize.search, or None), notes
"""

import json
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kseg import contract, files, preprocess
from kseg.data import pipeline
from kseg.errors import InputError
from kseg.export import (
    compare_with_keras,
    convert,
    export_page,
    frame_figures,
    labelled_frames,
    linter,
    quantize,
    quantize_int16x8,
    tflite_metadata,
    thresholds,
)
from kseg.models.encoders.mit import DotProductAttention
from kseg.models.simplify import simplify
from kseg.runtime import gpu
from kseg.runtime.litert import TFLiteModel

_SHOWN_PROBLEMS = 12


class Checks(NamedTuple):
    """How thoroughly files are checked. verify_gpu None: where there is a Vulkan device."""

    split: str
    frames: int
    calibration: int
    gpu_frames: int
    verify_gpu: bool | None
    allowed_loss: float | None


class ExportVerifier:
    """Makes and judges the files of one model; what they share is done once."""

    def __init__(self, model, config, labels, checks):
        """config: the run's, with the size of the files and the data that they are checked on."""
        self.model, self.config, self.labels, self.checks = model, config, labels, checks
        self._simple = simplify(model)  # Goes into the files; they are held against the model.
        self._converted, self._int8 = {}, {}
        self._driver, self._no_driver = None, "--no-verify-gpu"

    def refuse_unfit(self, targets, output):
        """Raises InputError on what cannot work, before minutes are spent; finds the GPU."""
        for target in targets:
            convert.form(target.profile, output)
            if target.precision == "int16x8":
                quantize_int16x8.check()
            if target.profile.name == "gpu-gl" and _attends(self.model):
                raise InputError(
                    f"--profile gpu-gl: {self.config.model} has attention, and TFLite's OpenGL "
                    "kernels have neither TRANSPOSE nor BATCH_MATMUL of two computed matrices; "
                    "take --profile gpu or gpu-classic"
                )
        if self.checks.verify_gpu is not False:
            self._driver, self._no_driver = gpu.find_driver()
        if self.checks.verify_gpu and not self._driver:
            raise InputError(f"--verify-gpu: {self._no_driver}")

    def convert(self, profile, precision, output):
        """Returns the bytes of one file. Profiles of the same form share one conversion."""
        key = (convert.form(profile, output), precision)
        if key not in self._converted and precision == "int8":
            self._converted[key], self._int8[key] = self._quantize(profile, output)
        elif key not in self._converted and precision == "int16x8":
            images = [frame.image for frame in self._calibration()]
            self._converted[key] = quantize_int16x8.to_tflite(self._simple, images, profile, output)
        elif key not in self._converted:
            self._converted[key] = convert.to_tflite(self._simple, precision, profile, output)
        return self._converted[key]

    def prove(self, files, config_hash, dataset):
        """Measures, judges and writes {target: bytes}. Returns a list of reports."""
        frames = labelled_frames.labelled(self.config, self.checks.split, self.checks.frames)
        measured = compare_with_keras.compare_with_keras(self.model, files, frames, self.labels)
        reports = [
            self._prove(target, tflite, measured, config_hash, dataset)
            for target, tflite in files.items()
        ]
        self._show(files, reports)
        return reports

    def _show(self, files, reports):
        """Writes export_report.json and .html beside the files."""
        pairs = zip(reports, files.values(), strict=True)
        runners = {report["file"]: TFLiteModel(tflite) for report, tflite in pairs}
        frames = labelled_frames.labelled(self.config, self.checks.split, self.checks.frames)
        worst = frame_figures.worst_frames(self.model, runners, frames, reports)
        folder = next(iter(files)).path.parent
        reports = [*_earlier(folder / "export_report.json", reports), *reports]
        _write_json(folder / "export_report.json", reports)
        export_page.write(folder / "export_report.html", reports, worst, self.labels)

    def _quantize(self, profile, output):
        frames = self._calibration()

        def problems_of(tflite):
            measured = compare_with_keras.compare_with_keras(
                self.model, {"": tflite}, frames, self.labels
            )
            return thresholds.accuracy_problems(
                measured["files"][""], measured["keras"], "int8", self.checks.allowed_loss
            )

        images = [frame.image for frame in frames]
        with quantize.Quantizer(self._simple, images, profile, output) as quantizer:
            tflite, findings = quantize.search(quantizer, problems_of)
        return tflite, {"calibration_frames": len(frames), **findings}

    def _calibration(self):
        return labelled_frames.calibration(self.config, "train", self.checks.calibration)

    def _prove(self, target, tflite, measured, config_hash, dataset):
        profile, precision = target.profile, target.precision
        mine = measured["files"][target]
        linted = linter.inspect(tflite, profile)
        on_gpu = self._on_gpu(profile, tflite)
        problems = linted["problems"] + thresholds.gpu_problems(
            on_gpu, self._must_run_on_gpu(profile), self.checks.allowed_loss
        )
        problems += thresholds.accuracy_problems(
            mine, measured["keras"], precision, self.checks.allowed_loss
        )
        runner = TFLiteModel(tflite)
        output = "logits" if runner.output_dtype == "float32" else "class_map"
        limit = thresholds.LIMITS[precision]
        int8 = self._int8.get((convert.form(profile, output.replace("_", "-")), precision))
        report = {
            "file": target.path.name,
            "path": str(target.path),
            "passed": not problems,
            "profile": profile.name,
            "precision": precision,
            "input_size": list(self.config.size),
            "output": output,
            "bytes": len(tflite),
            "agreement_limit": limit.agreement,
            "loss_limit": limit.loss,
            "allowed_loss": self.checks.allowed_loss,
            "problems": problems[:_SHOWN_PROBLEMS],
            "frames": measured["frames"],
            "pixel_agreement": mine["pixel_agreement"],
            "keras": measured["keras"],
            "tflite": mine["scores"],
            "latency_ms": mine["latency_ms"],
            "worst_frames": mine["worst_frames"],
            "operators": dict(sorted(linter.operators(tflite).items())),
            "lint": linted,
            "gpu": on_gpu,
            "int8": int8,
        }
        report["notes"] = _notes(report)
        promise = self._contract(report, runner, config_hash, dataset)
        # Metadata behind the contract: its labels lie after the model, where repacking loses them.
        tflite = contract.append_checksum(
            tflite_metadata.embed(contract.embed(tflite, promise), promise)
        )
        self._check_packing(tflite, runner)
        _write(report, tflite, target.path)
        return report

    def _check_packing(self, tflite, runner):
        """What is written must answer as what was measured."""
        frame = next(labelled_frames.labelled(self.config, self.checks.split, 1))
        if not np.array_equal(TFLiteModel(tflite)(frame.image), runner(frame.image)):
            raise RuntimeError("the file changed its answers when its contract was put in")

    def _on_gpu(self, profile, tflite):
        if profile.operators is None:
            return {"verified": False, "reason": "made for a CPU"}
        if self._driver is None:
            return {"verified": False, "reason": self._no_driver}
        split, count = self.checks.split, self.checks.gpu_frames
        manifest, _ = pipeline.open_split(self.config, split)
        every = max(1, manifest.splits[split].examples // count)
        frames = list(labelled_frames.labelled(self.config, split, count, every))
        return gpu.verify(tflite, frames, self.labels, self._driver)

    def _must_run_on_gpu(self, profile):
        return bool(self.checks.verify_gpu) and profile.operators is not None

    def _contract(self, report, runner, config_hash, dataset):
        import kseg

        gpu_fields = ("verified", "reason", "device", "frames", "pixel_agreement")
        return contract.Contract(
            model=self.config.model,
            precision=report["precision"],
            input_size=self.config.size,
            input_dtype=runner.input_dtype,
            channel_order="RGB",
            value_range=(0, 255),
            fit=self.config.fit,
            pad_value=preprocess.PAD_VALUE,
            output_kind=report["output"],
            output_dtype=runner.output_dtype,
            output_stride=1,
            labels=self.labels.to_dict(),
            dataset=self.labels.name,
            config_hash=config_hash,
            kseg_version=kseg.__version__,
            metrics={
                "data": dataset,
                "split": self.checks.split,
                "frames": report["frames"],
                "pixel_agreement": report["pixel_agreement"],
                **report["tflite"],
            },
            profile=report["profile"],
            allowed_loss=self.checks.allowed_loss,
            gpu={k: report["gpu"][k] for k in gpu_fields if k in report["gpu"]},
        )


def _earlier(path, reports):
    """The reports in `path` of files that still lie beside it and were measured as `reports` were.

    They tell of the same model on the same frames when Keras scored the same.
    """
    try:
        told = json.loads(path.read_text())
        fresh = {report["file"] for report in reports}
        alike = ("input_size", "frames", "keras")
        return [
            report
            for report in told
            if report["file"] not in fresh
            and (path.parent / report["file"]).is_file()
            and all(report[key] == reports[0][key] for key in alike)
        ]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError):  # What is to be written does not depend on it.
        print(f"{path}: is not what kseg.export writes, and is replaced", file=sys.stderr)
        return []


def _attends(model):
    return any(isinstance(layer, DotProductAttention) for layer in model.layers)


def _notes(report):
    """Lines for people on what is neither right nor wrong."""
    notes = []
    checked = report["gpu"]
    if report["profile"] != "cpu":
        if not checked["verified"]:
            notes.append(f"not verified on a GPU: {checked['reason']}")
        else:
            notes.append(f"ran on a GPU: {checked['device']}")
        if report["profile"] != "gpu":
            notes.append(
                "the classic delegate itself was not run: it is in no Python wheel; lint read the "
                "file against its tables"
            )
    if report["int8"]:
        notes += _int8_notes(report["int8"])
    if report["precision"] == "int8" and not report["passed"]:
        notes.append(
            "--precision int16x8 keeps 16 bits of activations: nearer to Keras, and on CPUs ten "
            "times slower or more"
        )
    if report["allowed_loss"] is not None:
        notes.append(f"a loss of {report['allowed_loss']:g} points was allowed")
    return notes


def _int8_notes(findings):
    """What of an int8 file is not."""
    notes = [f"calibrated on {findings['calibration_frames']} frames"]
    if findings["no_kernel"]:
        names = ", ".join(f"{n} {name}" for name, n in findings["no_kernel"].items())
        notes.append(f"in float for want of an int8 kernel: {names}")
    if findings["in_float"]:
        names = ", ".join(f"{k['operator']} ({k['layer']})" for k in findings["in_float"])
        notes.append(f"in float because int8 ruined them: {names}, and what reads them")
    return notes


def _write(report, tflite, path):
    """Writes the file, under another name when it was rejected, and its report."""
    rejected = path.with_suffix(".rejected.tflite")
    written = path if report["passed"] else rejected
    written.parent.mkdir(exist_ok=True)
    if report["passed"]:  # What an earlier export left there is of no use any more.
        rejected.unlink(missing_ok=True)
        Path(f"{rejected}.report.json").unlink(missing_ok=True)
    elif path.is_file():
        report["notes"].append(f"{path} is of an earlier export, not of this one")
    report.update(file=written.name, path=str(written), bytes=len(tflite))
    with files.atomic_write(written) as partial:
        partial.write_bytes(tflite)
    _write_json(f"{written}.report.json", report)


def _write_json(path, document):
    files.write_text(path, json.dumps(document, indent=1, allow_nan=False) + "\n")
