"""python -m kseg.doctor: what this machine can run, and whether it answers right."""

import argparse
import importlib
import json
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from kseg.errors import InputError, run

EXAMPLES = """examples:
  python -m kseg.doctor
  python -m kseg.doctor runs/demo/model-fp16.tflite
  python -m kseg.doctor road.tflite --gpu --json -      fails unless a GPU runs it

Every precision is tried with a tiny model made on the spot, on the CPU against LiteRT's reference
kernels and on the GPU against the CPU. A MODEL runs ten made-up frames on both; where another
machine, or kseg_run --doctor, prints the same answers (a checksum), it answers the same in every
pixel. GPU drivers are asked in processes of their own, because they crash.

exit codes: 0 all that this machine should do works, 1 something does not (no LiteRT, a GPU that
crashes or answers otherwise than the CPU, a GPU of hardware that LiteRT cannot use, or with --gpu
no GPU), 2 bad input
"""
_LEAST_LITERT = (2, 3)
_INSTALL = 'pip install "ai-edge-litert>=2.3"'


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m kseg.doctor",
        description="Says what this machine can run, and tries it. Needs no TensorFlow.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="MODEL", nargs="?", help=".tflite written by kseg.export")
    parser.add_argument("--gpu", action="store_true", help="a GPU must work")
    parser.add_argument("--json", metavar="FILE", help="write all of it (-: print that instead)")
    args = parser.parse_args(argv)
    report = examine(args.model, need_gpu=args.gpu)
    document = json.dumps(report, indent=1, allow_nan=False)
    if args.json == "-":
        print(document)
    else:
        print("\n".join(lines(report)))
        if args.json:
            Path(args.json).write_text(document + "\n")
    return 1 if report["problems"] else 0


def examine(model=None, *, need_gpu=False):
    """Looks at the machine and tries what it has. Returns the report, as --json writes it.

    Its "problems" are lines on what should work and does not. Raises InputError when `model` (a
    path) is no file that kseg.export wrote.
    """
    tflite = None if model is None else _read(model)
    from kseg.runtime import hardware

    report = {
        "system": hardware.system(),
        "litert": _litert(),
        "cpu": hardware.cpu(),
        "memory": hardware.memory(),
        "devices": None,
        "accelerators": [],
        "profiles": {},
        "model": None,
        "problems": [],
    }
    if report["litert"]["problem"]:
        report["problems"].append(report["litert"]["problem"])
        report["devices"] = hardware.devices({})
        return report

    from kseg import contract
    from kseg.runtime import gpu, self_test

    told = None if model is None else contract.read(model)
    driver, why = gpu.find_driver()
    report["devices"] = hardware.devices(driver.environment if driver else {})
    report["profiles"], report["accelerators"] = self_test.profiles(driver, why, report["devices"])
    if tflite is not None:
        report["model"] = _try_model(tflite, told, model, driver, why)
    report["problems"] += _problems(report, need_gpu)
    return report


def _litert():
    """Returns {"version", "problem": a line or None}."""
    try:
        found = version("ai-edge-litert")
    except PackageNotFoundError:
        return {"version": None, "problem": f"LiteRT is not installed; {_INSTALL}"}
    problem = None
    if tuple(int(part) for part in found.split(".")[:2]) < _LEAST_LITERT:
        problem = f"LiteRT {found} is too old; {_INSTALL}"
    else:
        try:
            importlib.import_module("ai_edge_litert.interpreter")
        except ImportError as error:  # Another glibc or processor than the wheel's.
            problem = f"LiteRT {found} does not load: {str(error).splitlines()[0]}"
    return {"version": found, "problem": problem}


def _read(path):
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def _try_model(tflite, told, path, driver, why):
    """Runs the self-test on a file with the contract `told`. Returns the report's "model"."""
    from kseg import contract
    from kseg.runtime import self_test

    try:
        class_maps, on_cpu = self_test.on_cpu(tflite, told.input_size)
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"{path}: LiteRT does not run it ({str(error).splitlines()[0]}); {contract.REEXPORT}"
        ) from error
    on_gpu = {"works": None, "reason": why}
    if driver:
        on_gpu, _ = self_test.on_gpu(tflite, told.input_size, class_maps, driver)
    return {
        "file": str(path),
        "name": told.model,
        "precision": told.precision,
        "profile": told.profile,
        "kseg": told.kseg_version,
        "cpu": on_cpu,
        "gpu": on_gpu,
    }


def _problems(report, need_gpu):
    """Lines on what should work here and does not."""
    found = []
    for name, precisions in report["profiles"].items():
        for precision, tried in precisions.items():
            if tried["works"] is False:
                found.append(f"profile {name}, {precision}: {tried['reason']}")
    on_gpu = [tried["works"] for tried in report["profiles"]["gpu"].values()]
    reason = report["profiles"]["gpu"]["fp32"]["reason"]
    hardware = [d["name"] for d in report["devices"]["vulkan"]["devices"] if not d["software"]]
    if hardware and None in on_gpu:
        found.append(f"LiteRT does not use the GPU ({', '.join(hardware)}): {reason}")
    elif need_gpu and None in on_gpu:
        found.append(f"--gpu: {reason}")
    tried = report["model"] and report["model"]["gpu"]
    if tried and (tried["works"] is False or (need_gpu and not tried["works"])):
        found.append(f"{report['model']['file']} on the GPU: {tried['reason']}")
    return found


def lines(report):
    """The report for people: a list of lines."""
    system, cpu, memory = report["system"], report["cpu"], report["memory"]
    limit = f", limit {memory['limit_mb']:,} MB" if memory["limit_mb"] else ""
    return [
        f"LiteRT    {report['litert']['version'] or 'not installed'}",
        f"system    {system['os']}, {system['machine']}, Python {system['python']}, "
        f"{system['libc']}",
        f"CPU       {cpu['name']}, {cpu['threads']} threads: "
        f"{' '.join(cpu['features']) or 'no feature that XNNPACK asks for'}",
        f"memory    {memory['total_mb']:,} MB, {memory['available_mb']:,} MB free{limit}",
        *(f"{name:9} {_devices(report['devices'][name.lower()])}" for name in ("Vulkan", "OpenCL")),
        f"loads     {', '.join(report['accelerators']) or 'no accelerator'}",
        *_profile_table(report["profiles"]),
        *_model_lines(report["model"]),
        *(f"problem   {line}" for line in report["problems"]),
    ]


def _devices(found):
    names = [f"{d['name']}{' (software)' if d['software'] else ''}" for d in found["devices"]]
    if names:
        return ", ".join(names)
    return found["error"] or ("no device" if found["found"] else "no library")


def _profile_table(profiles):
    yield ""
    yield f"{'profile':12}{'precision':14}{'here':8}"
    for name, precisions in profiles.items():
        for precision, tried in precisions.items():
            works = {True: "works", False: "WRONG", None: "no"}[tried["works"]]
            yield f"{name:12}{precision:14}{works:8}{tried['reason'] or ''}".rstrip()
    yield ""


def _model_lines(model):
    if model is None:
        return
    cpu, gpu = model["cpu"], model["gpu"]
    yield (
        f"model     {model['name']}, {model['precision']}, made for {model['profile']}, kseg "
        f"{model['kseg']}"
    )
    yield (
        f"CPU       {cpu['frames']} frames, median {cpu['median_ms']:.1f} ms, answers "
        f"{cpu['answers_crc32']}"
    )
    if "agreement" not in gpu:
        yield f"GPU       not usable: {gpu['reason']}"
        return
    verdict = {True: "right", False: "WRONG, use the CPU", None: gpu["reason"]}[gpu["works"]]
    yield (
        f"GPU       {gpu['frames']} frames, median {gpu['median_ms']:.1f} ms on {gpu['device']}; "
        f"answers as the CPU on {100 * gpu['agreement']:.3f} % of pixels: {verdict}"
    )


if __name__ == "__main__":
    sys.exit(run(main))
