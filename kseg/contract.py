"""The contract: one JSON document inside the .tflite or .onnx with all that a runner must know.

It is stored in the file's metadata list under the name "kseg_contract": in a .tflite as a
FlatBuffer buffer, which TFLite runtimes ignore, in an .onnx in metadata_props. deploy/README.md
shows a complete example. The file ends with a checksum: "KCRC" and the CRC-32 of all bytes before
it, after the FlatBuffer of a .tflite and in a field of its own of an .onnx, which runtimes do not
read either. A runner that verifies it never runs corrupt weights.
"""

from __future__ import annotations

import dataclasses
import json
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kseg import onnx_file
from kseg.errors import InputError

if TYPE_CHECKING:
    from ai_edge_litert import schema_py_generated as schema

METADATA_NAME = "kseg_contract"
VERSION = 1
CHECKSUM_MARKER = b"KCRC"
MAX_SIDE = 8192  # of a model's input, pixels
OUTPUTS = (("class_map", "uint8"), ("class_map", "int32"), ("logits", "float32"))
REEXPORT = "re-export it with `python -m kseg.export --tflite`"


@dataclass(frozen=True)
class Contract:
    """What a runner needs to know. Sizes are (height, width); frames go in as raw RGB, 0..255."""

    model: str
    precision: str  # fp32, fp16 (weights), int8, int8-dynamic, int16x8
    input_size: tuple[int, int]
    input_dtype: str  # uint8 or float32, raw RGB either way
    channel_order: str  # RGB
    value_range: tuple[int, int]  # (0, 255): normalisation is inside the graph
    fit: str  # letterbox, stretch or crop: kseg/preprocess.py
    pad_value: int  # value of the letterbox bars
    output_kind: str  # class_map: (1, height, width) ids; logits: (1, height, width, classes)
    output_dtype: str  # uint8; logits: float32
    output_stride: int  # input pixels per output pixel
    labels: dict[str, Any]  # LabelSet.to_dict(): ids, names, colours, drivable or not
    dataset: str
    config_hash: str
    kseg_version: str
    metrics: dict[str, Any]  # measured by export on this very file
    profile: str = "cpu"  # the target of the file: kseg/export/profiles.py
    allowed_loss: float | None = None  # points of IoU accepted by --allow-loss
    gpu: dict[str, Any] | None = None  # {"verified", ...}: result of export's GPU run
    contract_version: int = VERSION

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1, allow_nan=False)

    @classmethod
    def from_json(cls, text: str, where: str | os.PathLike[str]) -> Contract:
        """Raises InputError, naming `where`, on a newer version or a damaged document.

        Read as strictly as by the runners. Unknown keys are ignored: adding a key does not raise
        the version.
        """
        try:
            document = json.loads(
                text, parse_constant=_refuse_constant, object_pairs_hook=_unique_members
            )
        except ValueError as error:
            raise InputError(
                f"{where}: invalid kseg contract ({error}); {reexport(where)}"
            ) from error
        version: Any = document.get("contract_version") if isinstance(document, dict) else None
        if not _is_integer(version, 1, 2**31 - 1):
            raise InputError(
                f"{where}: invalid kseg contract (contract_version); {reexport(where)}"
            )
        if version > VERSION:
            raise InputError(
                f"{where}: kseg contract version {version} is newer than this kseg reads "
                f"({VERSION}); update kseg or {reexport(where)}"
            )
        if invalid := _invalid_member(document):
            raise InputError(f"{where}: invalid kseg contract ({invalid}); {reexport(where)}")
        try:
            known = {spec.name for spec in dataclasses.fields(cls)}
            contract = cls(**{k: v for k, v in document.items() if k in known})
            pairs: dict[str, Any] = {
                "input_size": tuple(contract.input_size),  # JSON has lists.
                "value_range": tuple(contract.value_range),
            }
            return dataclasses.replace(contract, **pairs)
        except TypeError as error:
            raise InputError(
                f"{where}: invalid kseg contract ({error}); {reexport(where)}"
            ) from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("duplicate key")
    return members


def _invalid_member(document: dict[str, Any]) -> str | None:
    """Returns the first member with a value that no runner takes, None if there is none."""
    get, labels = document.get, document.get("labels")
    classes = labels.get("classes") if isinstance(labels, dict) else None
    valid = {
        "output_kind": (get("output_kind"), get("output_dtype")) in OUTPUTS,
        "input_dtype": get("input_dtype") in ("uint8", "float32"),
        "output_stride": _is_integer(get("output_stride"), 1, 1),
        "input_size": _are_integers(get("input_size"), 2, 1, MAX_SIDE),
        "fit": get("fit") in ("letterbox", "stretch", "crop"),
        "pad_value": _is_integer(get("pad_value"), 0, 255),
        "channel_order": get("channel_order") == "RGB",
        "value_range": _are_integers(get("value_range"), 2, 0, 255)
        and get("value_range") == [0, 255],
        "labels": isinstance(classes, list) and _are_classes(classes),
    }
    return next((name for name, is_valid in valid.items() if not is_valid), None)


def _are_classes(classes: list[Any]) -> bool:
    """Whether the ids are 0 to n - 1, each once, with colours, drivable or not."""
    for label in classes:
        if not isinstance(label, dict) or not isinstance(label.get("drivable"), bool):
            return False
        if not _is_integer(label.get("id"), 0, 254):
            return False
        if not _are_integers(label.get("color"), 3, 0, 255):
            return False
    ids = sorted(label["id"] for label in classes)
    return bool(ids) and ids == list(range(len(ids)))


def _are_integers(values: Any, count: int, low: int, high: int) -> bool:
    right = isinstance(values, list) and len(values) == count
    return right and all(_is_integer(value, low, high) for value in values)


def _is_integer(value: Any, low: int, high: int) -> bool:
    # bool is a subclass of int.
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def reexport(where: str | os.PathLike[str]) -> str:
    """What to do about the file `where`."""
    return REEXPORT.replace("--tflite", "--onnx") if str(where).endswith(".onnx") else REEXPORT


def embed(model_file: bytes, contract: Contract) -> bytes:
    """Returns the .tflite or .onnx with the contract inside; without a checksum.

    In a .tflite it replaces an older one. An .onnx must have none.
    """
    if onnx_file.is_onnx(model_file):
        return onnx_file.add_metadata(model_file, METADATA_NAME, contract.to_json().encode())
    tflite = model_file
    model = unpack(tflite)
    set_metadata(model, METADATA_NAME, contract.to_json().encode())
    return pack(model, len(tflite))


def set_metadata(model: schema.ModelT, name: str, data: bytes) -> None:
    """Stores bytes in a model's metadata under a name, replacing what has that name."""
    from ai_edge_litert import schema_py_generated as schema

    model.metadata = model.metadata or []
    entry = next((m for m in model.metadata if m.name == name.encode()), None)
    if entry is None:
        entry = schema.MetadataT()
        entry.name, entry.buffer = name, len(model.buffers)
        model.metadata.append(entry)
        model.buffers.append(schema.BufferT())
    model.buffers[entry.buffer].data = list(data)


def unpack(tflite: bytes) -> schema.ModelT:
    """Returns a .tflite as a schema.ModelT with all its weights.

    Some writers store large weights after the FlatBuffer, where `pack` would lose them; here they
    become part of the model.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(tflite, 0)
    for buffer in model.buffers:
        if buffer.offset > 1:  # 0 and 1 mean: not stored after the FlatBuffer.
            buffer.data = np.frombuffer(tflite, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return model


def pack(model: schema.ModelT, size: int) -> bytes:
    """Returns a schema.ModelT as the bytes of a .tflite. size: about how many bytes to expect."""
    import flatbuffers

    builder = flatbuffers.Builder(size)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def append_checksum(model_file: bytes) -> bytes:
    """Returns the file followed by "KCRC" and the CRC-32 of its bytes: export's last step."""
    if onnx_file.is_onnx(model_file):
        model_file += onnx_file.CHECKSUM_FIELD
    return model_file + CHECKSUM_MARKER + struct.pack("<I", zlib.crc32(model_file))


def verify_checksum(model_file: bytes, where: str | os.PathLike[str] = "model") -> None:
    """Raises InputError, naming `where`, unless the file has a checksum and it is right."""
    remedy = reexport(where)
    if model_file[-8:-4] != CHECKSUM_MARKER:
        raise InputError(f"{where}: truncated, or without kseg.export's checksum; {remedy}")
    if struct.unpack("<I", model_file[-4:])[0] != zlib.crc32(model_file[:-8]):
        kind = ".onnx" if onnx_file.is_onnx(model_file) else ".tflite"
        raise InputError(
            f"{where}: corrupt {kind} file (checksum mismatch); copy it again or {remedy}"
        )


def read(path: str | os.PathLike[str]) -> Contract:
    """Returns the Contract inside a .tflite or .onnx file.

    Raises InputError when the file has none or is damaged. The contract is looked for first: the
    error for any file from elsewhere is the missing contract, not the missing checksum.
    """
    try:
        model_file = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    text = extract(model_file, path)
    if text is None:
        raise InputError(f"{path}: no kseg contract inside; {reexport(path)}")
    contract = Contract.from_json(text, where=path)
    verify_checksum(model_file, path)
    return contract


def extract(model_file: bytes, where: str | os.PathLike[str] = "model") -> str | None:
    """Returns the JSON text of the contract inside a .tflite or .onnx, None when there is none.

    Raises InputError, naming `where`, when the bytes are neither or corrupt.
    """
    if onnx_file.is_onnx(model_file):
        return _extract_from_onnx(model_file, where)
    tflite = model_file
    from ai_edge_litert import schema_py_generated as schema

    if tflite[4:8] != b"TFL3":
        kind = ".onnx" if str(where).endswith(".onnx") else ".tflite"
        raise InputError(f"{where}: not a {kind} file (its first bytes are {tflite[:8]!r})")
    try:
        model = schema.Model.GetRootAs(tflite, 0)
        for i in range(model.MetadataLength()):
            if model.Metadata(i).Name() == METADATA_NAME.encode():
                data = model.Buffers(model.Metadata(i).Buffer()).DataAsNumpy()
                return data.tobytes().decode()
    except Exception as error:  # The generated reader does not check the file's offsets.
        raise InputError(f"{where}: corrupt .tflite file ({error}); {REEXPORT}") from error
    return None


def _extract_from_onnx(data: bytes, where: str | os.PathLike[str]) -> str | None:
    try:
        text = onnx_file.read_metadata(data, METADATA_NAME)
        return None if text is None else text.decode()
    except ValueError as error:
        raise InputError(f"{where}: corrupt .onnx file ({error}); {reexport(where)}") from error
