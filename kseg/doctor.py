"""python -m kseg.doctor: reports what this machine can run, and whether the results are right."""

import argparse
import importlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kseg import published_models
from kseg.errors import InputError, run, user_path

if TYPE_CHECKING:
    from kseg.contract import Contract
    from kseg.runtime.gpu import Driver

EXAMPLES = """examples:
  python -m kseg.doctor
  python -m kseg.doctor runs/demo/model-fp16.tflite
  python -m kseg.doctor road.tflite --gpu --json -      fails unless a GPU runs the file
  python -m kseg.doctor --training                      is a GPU used for training, and if not, why?

Tiny models in every precision are run first: on the CPU, compared with LiteRT's reference kernels,
and on the GPU, compared with the CPU. A MODEL runs ten synthetic frames on both. Its checksum is of
the ten class maps: where another machine or `kseg_run --doctor` prints the same one, both computed
the same class in every pixel. GPU drivers run in child processes, because they may crash.

--training tries the backend that KERAS_BACKEND names (default: tensorflow): devices, their memory,
the versions of driver, CUDA and cuDNN, and which precisions compute right.

exit codes:
  0  everything that this machine should be able to run works
  1  something does not: no LiteRT; a GPU that crashes or disagrees with the CPU; a hardware GPU
     that LiteRT, or with --training the backend, cannot use; or with --gpu, no GPU
  2  bad input
"""
_MIN_LITERT = (2, 3)
_INSTALL = 'pip install "ai-edge-litert>=2.3"'


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m kseg.doctor",
        description="Reports what this machine can run, after trying it. Needs no TensorFlow.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "model",
        metavar="MODEL",
        nargs="?",
        help="a .tflite written by kseg.export, or a published model, to try as well",
    )
    parser.add_argument(
        "--training", action="store_true", help="report what training would run on, instead"
    )
    parser.add_argument("--gpu", action="store_true", help="fail if no GPU works")
    parser.add_argument(
        "--json", metavar="FILE", help="write the report as JSON as well (-: print only the JSON)"
    )
    args = parser.parse_args(argv)
    if args.training:
        if args.model:
            raise InputError(f"{args.model}: --training needs no model; leave one of them out")
        from kseg.runtime import training_check

        report = training_check.examine(need_gpu=args.gpu)
        lines = list(training_check.report_lines(report))
    else:
        model = args.model and published_models.tflite_file(args.model)
        report = examine(model, need_gpu=args.gpu)
        lines = report_lines(report)
    document = json.dumps(report, indent=1, allow_nan=False)
    if args.json == "-":
        print(document)
    else:
        print("\n".join(lines))
        if args.json:
            with user_path(args.json):
                Path(args.json).write_text(document + "\n")
    return 1 if report["problems"] else 0


def examine(model: str | Path | None = None, *, need_gpu: bool = False) -> dict[str, Any]:
    """Examines this machine and tries what it has. Returns the report that --json writes.

    "problems" are lines on what should work and does not. Raises InputError when `model` (a path)
    is not a file that kseg.export wrote.
    """
    tflite = None if model is None else _read_model(model)
    from kseg.runtime import hardware

    report: dict[str, Any] = {
        "system": hardware.system_info(),
        "litert": _check_litert(),
        "cpu": hardware.cpu_info(),
        "memory": hardware.memory_info(),
        "devices": None,
        "accelerators": [],
        "profiles": {},
        "model": None,
        "problems": [],
    }
    if report["litert"]["problem"]:
        report["problems"].append(report["litert"]["problem"])
        report["devices"] = hardware.gpu_devices({})
        return report

    from kseg import contract
    from kseg.runtime import gpu, self_test

    terms = None if model is None else contract.read(model)
    driver, no_driver = gpu.find_driver()
    report["devices"] = hardware.gpu_devices(driver.environment if driver else {})
    report["profiles"], report["accelerators"] = self_test.try_profiles(
        driver, no_driver, report["devices"]
    )
    if tflite is not None and terms is not None:
        report["model"] = _try_model(model, tflite, terms, driver, no_driver)
    report["problems"] += _problems(report, need_gpu)
    return report


def _check_litert() -> dict[str, str | None]:
    """Returns {"version", "problem": a line, or None}."""
    try:
        installed = version("ai-edge-litert")
    except PackageNotFoundError:
        return {"version": None, "problem": f"LiteRT is not installed; {_INSTALL}"}
    problem = None
    if tuple(int(number) for number in installed.split(".")[:2]) < _MIN_LITERT:
        problem = f"LiteRT {installed} is too old; {_INSTALL}"
    else:
        try:
            importlib.import_module("ai_edge_litert.interpreter")
        except ImportError as error:  # The wheel needs another glibc or processor.
            problem = f"LiteRT {installed} cannot be loaded: {str(error).splitlines()[0]}"
    return {"version": installed, "problem": problem}


def _read_model(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def _try_model(
    path: str | Path | None,
    tflite: bytes,
    terms: "Contract",
    driver: "Driver | None",
    no_driver: str | None,
) -> dict[str, Any]:
    """Runs the self-test on a file with the contract `terms`. Returns the report's "model"."""
    from kseg import contract
    from kseg.runtime import self_test

    try:
        class_maps, on_cpu = self_test.run_on_cpu(tflite, terms.input_size)
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"{path}: LiteRT cannot run it ({str(error).splitlines()[0]}); {contract.REEXPORT}"
        ) from error
    on_gpu: dict[str, Any] = {"works": None, "reason": no_driver}
    if driver:
        on_gpu, _ = self_test.run_on_gpu(tflite, terms.input_size, class_maps, driver)
    return {
        "file": str(path),
        "name": terms.model,
        "precision": terms.precision,
        "profile": terms.profile,
        "kseg": terms.kseg_version,
        "cpu": on_cpu,
        "gpu": on_gpu,
    }


def _problems(report: Mapping[str, Any], need_gpu: bool) -> list[str]:
    """Returns lines on what should work on this machine and does not."""
    problems = [
        f"profile {profile}, {precision}: {result['reason']}"
        for profile, precisions in report["profiles"].items()
        for precision, result in precisions.items()
        if result["works"] is False
    ]
    gpu_profile = report["profiles"]["gpu"]
    unavailable = any(result["works"] is None for result in gpu_profile.values())
    reason = gpu_profile["fp32"]["reason"]
    gpus = [d["name"] for d in report["devices"]["vulkan"]["devices"] if not d["software"]]
    if gpus and unavailable:
        problems.append(f"LiteRT does not use the GPU ({', '.join(gpus)}): {reason}")
    elif need_gpu and unavailable:
        problems.append(f"--gpu: {reason}")
    on_gpu = report["model"] and report["model"]["gpu"]
    if on_gpu and (on_gpu["works"] is False or (need_gpu and not on_gpu["works"])):
        problems.append(f"{report['model']['file']} on the GPU: {on_gpu['reason']}")
    return problems


def report_lines(report: Mapping[str, Any]) -> list[str]:
    """Returns the report as lines to print."""
    system, cpu, memory = report["system"], report["cpu"], report["memory"]
    limit = f", limit {memory['limit_mb']:,} MB" if memory["limit_mb"] else ""
    return [
        f"LiteRT    {report['litert']['version'] or 'not installed'}",
        f"system    {system['os']}, {system['machine']}, Python {system['python']}, "
        f"{system['libc']}",
        f"CPU       {cpu['name']}, {cpu['threads']} threads: "
        f"{' '.join(cpu['features']) or 'no feature that XNNPACK looks for'}",
        f"memory    {memory['total_mb']:,} MB, {memory['available_mb']:,} MB available{limit}",
        *(
            f"{name:9} {_device_names(report['devices'][name.lower()])}"
            for name in ("Vulkan", "OpenCL")
        ),
        f"backends  {', '.join(report['accelerators']) or 'none'}",
        *_profile_table(report["profiles"]),
        *_model_lines(report["model"]),
        *(f"problem   {line}" for line in report["problems"]),
    ]


def _device_names(api: Mapping[str, Any]) -> str:
    names = [f"{d['name']}{' (software)' if d['software'] else ''}" for d in api["devices"]]
    if names:
        return ", ".join(names)
    return api["error"] or ("no device" if api["found"] else "no library")


def _profile_table(profiles: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Iterator[str]:
    yield ""
    yield f"{'profile':12}{'precision':14}{'here':8}"
    for profile, precisions in profiles.items():
        for precision, result in precisions.items():
            works = {True: "works", False: "WRONG", None: "no"}[result["works"]]
            yield f"{profile:12}{precision:14}{works:8}{result['reason'] or ''}".rstrip()
    yield ""


def _model_lines(model: Mapping[str, Any] | None) -> Iterator[str]:
    if model is None:
        return
    cpu, gpu = model["cpu"], model["gpu"]
    yield (
        f"model     {model['name']}, {model['precision']}, profile {model['profile']}, kseg "
        f"{model['kseg']}"
    )
    yield (
        f"CPU       {cpu['frames']} frames, median {cpu['median_ms']:.1f} ms, checksum "
        f"{cpu['answers_crc32']}"
    )
    if "agreement" not in gpu:
        yield f"GPU       not usable: {gpu['reason']}"
        return
    verdict = {True: "right", False: "WRONG, use the CPU", None: gpu["reason"]}[gpu["works"]]
    yield (
        f"GPU       {gpu['frames']} frames, median {gpu['median_ms']:.1f} ms on {gpu['device']}; "
        f"{100 * gpu['agreement']:.3f} % of pixels as on the CPU: {verdict}"
    )


if __name__ == "__main__":
    sys.exit(run(main))
