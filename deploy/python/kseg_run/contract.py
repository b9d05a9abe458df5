"""Reads and checks a model file's contract, as strictly as deploy/cpp/kseg/contract.cc.

A file may come from anywhere. Every value is checked before it is used, and the checksum of the
complete file before LiteRT or ONNX Runtime reads any of it.
"""

import json
import zlib
from pathlib import Path
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from kseg_run.errors import InputError
from kseg_run.onnx_file import is_onnx, read_metadata

CONTRACT_NAME = "kseg_contract"
CONTRACT_VERSION = 1
REEXPORT = "re-export it with `python -m kseg.export --tflite`"
FITS = ("letterbox", "stretch", "crop")
INPUT_DTYPES = ("uint8", "float32")
OUTPUT_DTYPES = {"class_map": ("uint8", "int32"), "logits": ("float32",)}  # by output_kind
MAX_SIDE = 8192  # of a model's input, pixels
MAX_BYTES = 1 << 20  # of a contract's text
MAX_CLASSES = 255  # Id 255 marks pixels that `crop` cut away.


def read_file(path: str | Path) -> bytes:
    """Returns a file's bytes. It is read once: later changes to the file have no effect."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def reexport(path: str | Path) -> str:
    """What to do about the file `path`."""
    return REEXPORT.replace("--tflite", "--onnx") if str(path).endswith(".onnx") else REEXPORT


def read_contract(model_file: bytes, path: str | Path) -> dict[str, Any]:
    """Returns the contract inside a .tflite or .onnx, checked. Raises InputError naming `path`."""
    if is_onnx(model_file):
        text = _extract_from_onnx(model_file, path)
    else:
        text = _extract_from_tflite(model_file, path)
    try:
        contract = _parse_json(text)
        version = _integer(contract.get("contract_version"), 1, 2**31 - 1, "contract_version")
    except ValueError as error:
        raise _invalid_contract(path, error) from error
    if version > CONTRACT_VERSION:
        raise InputError(
            f"{path}: kseg contract version {version} is newer than this runner supports "
            f"({CONTRACT_VERSION}); update the runner or {reexport(path)}"
        )
    output_kind, input_dtype, output_dtype = (
        _text(contract.get(key)) for key in ("output_kind", "input_dtype", "output_dtype")
    )
    supported = (
        output_dtype in OUTPUT_DTYPES.get(output_kind, ())
        and input_dtype in INPUT_DTYPES
        and _is_integer(contract.get("output_stride"), 1, 1)
    )
    if not supported:
        raise InputError(
            f"{path}: unsupported model, {input_dtype} to {output_kind} ({output_dtype}); this "
            "runner supports uint8 or float32 to class_map (uint8, int32) or logits (float32) of "
            f"stride 1; {reexport(path)}"
        )
    try:
        _check_members(contract)
    except ValueError as error:
        raise _invalid_contract(path, error) from error
    return contract


def verify_checksum(model_file: bytes, path: str | Path) -> None:
    """Raises InputError unless the file ends with "KCRC" and the CRC-32 of all bytes before it."""
    if model_file[-8:-4] != b"KCRC":
        raise InputError(f"{path}: truncated, or without kseg.export's checksum; {reexport(path)}")
    if int.from_bytes(model_file[-4:], "little") != zlib.crc32(memoryview(model_file)[:-8]):
        kind = ".onnx" if is_onnx(model_file) else ".tflite"
        raise InputError(
            f"{path}: corrupt {kind} file (checksum mismatch); copy it again or {reexport(path)}"
        )


def _extract_from_onnx(data: bytes, path: str | Path) -> bytes:
    try:
        text = read_metadata(data, CONTRACT_NAME)
    except ValueError as error:
        raise InputError(f"{path}: corrupt .onnx file ({error}); {reexport(path)}") from error
    if text is None:
        raise InputError(f"{path}: no kseg contract inside; {reexport(path)}")
    return text


def _extract_from_tflite(tflite: bytes, path: str | Path) -> bytes:
    if tflite[4:8] != b"TFL3":
        kind = ".onnx" if str(path).endswith(".onnx") else ".tflite"
        raise InputError(f"{path}: not a {kind} file (its first bytes are {tflite[:8]!r})")
    try:
        model = schema.Model.GetRootAs(tflite, 0)
        entries = [model.Metadata(i) for i in range(model.MetadataLength())]
        buffers = [entry.Buffer() for entry in entries if entry.Name() == CONTRACT_NAME.encode()]
        text = model.Buffers(buffers[0]).DataAsNumpy().tobytes() if buffers else None
    except Exception as error:  # The generated reader trusts every offset in the file.
        raise InputError(f"{path}: corrupt .tflite file ({error}); {reexport(path)}") from error
    if text is None:
        raise InputError(f"{path}: no kseg contract inside; {reexport(path)}")
    return text


def _parse_json(text: bytes) -> dict[str, Any]:
    """Parses JSON strictly by RFC 8259: UTF-8 without a byte order mark, no NaN, no duplicate keys,
    no lone surrogates. Raises ValueError."""
    if len(text) > MAX_BYTES:
        raise ValueError("longer than a contract can be")

    def refuse_constant(name):
        raise ValueError(f"{name} is not JSON")

    def unique_members(pairs):
        members = dict(pairs)
        if len(members) < len(pairs):
            raise ValueError("duplicate key")
        return members

    try:
        # Decoded here, because json.loads(bytes) would also accept UTF-16 and UTF-32.
        contract = json.loads(
            text.decode(), parse_constant=refuse_constant, object_pairs_hook=unique_members
        )
        json.dumps(contract, ensure_ascii=False).encode()  # Fails on lone surrogates ("\ud800").
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(contract, dict):
        raise ValueError("contract_version")
    return contract


def _check_members(contract: dict[str, Any]) -> None:
    """Raises ValueError with the name of the first invalid member."""
    for side in _list(contract.get("input_size"), 2, "input_size"):
        _integer(side, 1, MAX_SIDE, "input_size")
    if contract.get("fit") not in FITS:
        raise ValueError("fit")
    _integer(contract.get("pad_value"), 0, 255, "pad_value")
    if contract.get("channel_order") != "RGB":
        raise ValueError("channel_order")
    low, high = _list(contract.get("value_range"), 2, "value_range")
    _integer(low, 0, 0, "value_range")
    _integer(high, 255, 255, "value_range")
    labels = contract.get("labels")
    classes = labels.get("classes") if isinstance(labels, dict) else None
    if not isinstance(classes, list) or not 1 <= len(classes) <= MAX_CLASSES:
        raise ValueError("labels")
    for label in classes:
        _check_class(label)
    if sorted(label["id"] for label in classes) != list(range(len(classes))):
        raise ValueError("labels")


def _check_class(label: Any) -> None:
    if not isinstance(label, dict) or not isinstance(label.get("drivable"), bool):
        raise ValueError("labels")
    _integer(label.get("id"), 0, MAX_CLASSES - 1, "labels")
    label["name"] = _text(label.get("name"))
    for value in _list(label.get("color"), 3, "labels"):
        _integer(value, 0, 255, "labels")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _list(value: Any, length: int, name: str) -> list:
    if not isinstance(value, list) or len(value) != length:
        raise ValueError(name)
    return value


def _integer(value: Any, low: int, high: int, name: str) -> int:
    if not _is_integer(value, low, high):
        raise ValueError(name)
    return value


def _is_integer(value: Any, low: int, high: int) -> bool:
    # bool is a subclass of int.
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _invalid_contract(path: str | Path, detail: Exception) -> InputError:
    return InputError(f"{path}: invalid kseg contract ({detail}); {reexport(path)}")
