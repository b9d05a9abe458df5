"""Reads what a .tflite says of itself, as strictly as deploy/cpp/kseg/contract.cc.

A file comes from anywhere: every value is checked before it is used, and the whole file before
LiteRT sees a byte of it.
"""

import json
import zlib
from pathlib import Path

from ai_edge_litert import schema_py_generated as schema

from kseg_run.errors import InputError

CONTRACT_NAME = b"kseg_contract"
CONTRACT_VERSION = 1
REEXPORT = "re-export it with `python -m kseg.export --tflite`"
FITS = ("letterbox", "stretch", "crop")
ANSWERS = {"class_map": ("uint8", "int32"), "logits": ("float32",)}
MAX_SIDE = 8192  # Of a model's input, in pixels.
MAX_BYTES = 1 << 20  # Of a contract's text.
MAX_CLASSES = 255  # Id 255 is what `crop` cut away.


def read_file(path):
    """Returns a file's bytes. The file may change afterwards: nothing is read from it twice."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def read_contract(tflite, path):
    """Returns the contract (dict) inside a .tflite (bytes). Raises InputError naming `path`."""
    text = _text(tflite, path)
    try:
        contract = _parse(text)
        version = _integer(contract.get("contract_version"), 1, 2**31 - 1, "contract_version")
    except ValueError as error:
        raise _damaged(path, error) from error
    if version > CONTRACT_VERSION:
        raise InputError(
            f"{path}: kseg contract version {version} is newer than this runner reads "
            f"({CONTRACT_VERSION}); update the runner or {REEXPORT}"
        )
    kind, takes, gives = (
        _word(contract.get(key)) for key in ("output_kind", "input_dtype", "output_dtype")
    )
    known = gives in ANSWERS.get(kind, ()) and takes in ("uint8", "float32")
    if not known or not _is_integer(contract.get("output_stride"), 1, 1):
        raise InputError(
            f"{path}: answers {kind} ({gives}) from {takes}; this runner needs class_map (uint8, "
            f"int32) or logits (float32) of stride 1 from uint8 or float32; {REEXPORT}"
        )
    try:
        _check(contract)
    except ValueError as error:
        raise _damaged(path, error) from error
    return contract


def check_seal(tflite, path):
    """Raises InputError unless the file ends with "KCRC" and the CRC-32 of all before it."""
    if tflite[-8:-4] != b"KCRC":
        raise InputError(f"{path}: cut off, or not sealed by kseg.export; {REEXPORT}")
    if int.from_bytes(tflite[-4:], "little") != zlib.crc32(memoryview(tflite)[:-8]):
        raise InputError(
            f"{path}: damaged .tflite file (its checksum differs); copy it anew or {REEXPORT}"
        )


def _text(tflite, path):
    if tflite[4:8] != b"TFL3":
        raise InputError(f"{path}: not a .tflite file (its first bytes are {tflite[:8]!r})")
    try:
        model = schema.Model.GetRootAs(tflite, 0)
        entries = [model.Metadata(i) for i in range(model.MetadataLength())]
        found = [e.Buffer() for e in entries if e.Name() == CONTRACT_NAME]
        text = model.Buffers(found[0]).DataAsNumpy().tobytes() if found else None
    except Exception as error:  # The generated reader trusts every offset in the file.
        raise InputError(f"{path}: damaged .tflite file ({error}); {REEXPORT}") from error
    if text is None:
        raise InputError(f"{path}: no kseg contract inside; {REEXPORT}")
    return text


def _parse(text):
    """JSON as RFC 8259 has it: UTF-8 without a mark, no NaN, no key twice, no half of a surrogate
    pair. Raises ValueError."""
    if len(text) > MAX_BYTES:
        raise ValueError("longer than a contract can be")

    def no_constant(name):
        raise ValueError(f"{name} is no JSON")

    def unique(pairs):
        members = dict(pairs)
        if len(members) < len(pairs):
            raise ValueError("a key comes twice")
        return members

    try:
        # Decoded here: given bytes, json guesses among UTF-8, 16 and 32.
        decoded = text.decode()
        contract = json.loads(decoded, parse_constant=no_constant, object_pairs_hook=unique)
        json.dumps(contract, ensure_ascii=False).encode()  # "\ud800" has no UTF-8.
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(contract, dict):
        raise ValueError("contract_version")
    return contract


def _check(contract):
    """Raises ValueError with the name of the first member that is wrong."""
    size = _list(contract.get("input_size"), 2, "input_size")
    for side in size:
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
    if len({label["id"] for label in classes}) < len(classes):
        raise ValueError("labels")


def _check_class(label):
    if not isinstance(label, dict) or not isinstance(label.get("drivable"), bool):
        raise ValueError("labels")
    _integer(label.get("id"), 0, MAX_CLASSES - 1, "labels")
    label["name"] = _word(label.get("name"))
    for value in _list(label.get("color"), 3, "labels"):
        _integer(value, 0, 255, "labels")


def _word(value):
    return value if isinstance(value, str) else ""


def _list(value, length, name):
    if not isinstance(value, list) or len(value) != length:
        raise ValueError(name)
    return value


def _integer(value, low, high, name):
    if not _is_integer(value, low, high):
        raise ValueError(name)
    return value


def _is_integer(value, low, high):
    # A bool is an int to Python.
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _damaged(path, why):
    return InputError(f"{path}: its kseg contract is damaged ({why}); {REEXPORT}")
