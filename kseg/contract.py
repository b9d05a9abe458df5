"""The contract: one JSON document inside the .tflite with all that a runner must know.

It is stored in the file's metadata list under the name "kseg_contract", as a FlatBuffer buffer like
any other metadata, which TFLite runtimes ignore. deploy/README.md shows a complete example.
After the FlatBuffer, which runtimes do not read either, the file ends with a checksum: "KCRC" and
the CRC-32 of all bytes before it. A runner that verifies it never runs corrupt weights.
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

from kseg.errors import InputError

if TYPE_CHECKING:
    from ai_edge_litert import schema_py_generated as schema

METADATA_NAME = "kseg_contract"
VERSION = 1
CHECKSUM_MARKER = b"KCRC"
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

        Unknown keys are ignored: adding a key does not raise the version.
        """
        try:
            document = json.loads(text)
            version = document["contract_version"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{where}: invalid kseg contract; {REEXPORT}") from error
        if not isinstance(version, int) or version > VERSION:
            raise InputError(
                f"{where}: kseg contract version {version} is newer than this kseg reads "
                f"({VERSION}); update kseg or {REEXPORT}"
            )
        try:
            known = {spec.name for spec in dataclasses.fields(cls)}
            contract = cls(**{k: v for k, v in document.items() if k in known})
            pairs: dict[str, Any] = {
                "input_size": tuple(contract.input_size),  # JSON has lists.
                "value_range": tuple(contract.value_range),
            }
            return dataclasses.replace(contract, **pairs)
        except TypeError as error:
            raise InputError(f"{where}: invalid kseg contract ({error}); {REEXPORT}") from error


def embed(tflite: bytes, contract: Contract) -> bytes:
    """Returns the .tflite with the contract inside, replacing an older one; without a checksum."""
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


def append_checksum(tflite: bytes) -> bytes:
    """Returns the .tflite followed by "KCRC" and the CRC-32 of its bytes: export's last step."""
    return tflite + CHECKSUM_MARKER + struct.pack("<I", zlib.crc32(tflite))


def verify_checksum(tflite: bytes, where: str | os.PathLike[str] = "model") -> None:
    """Raises InputError, naming `where`, unless a .tflite has a checksum and it is right."""
    if tflite[-8:-4] != CHECKSUM_MARKER:
        raise InputError(f"{where}: truncated, or without kseg.export's checksum; {REEXPORT}")
    if struct.unpack("<I", tflite[-4:])[0] != zlib.crc32(tflite[:-8]):
        raise InputError(
            f"{where}: corrupt .tflite file (checksum mismatch); copy it again or {REEXPORT}"
        )


def read(path: str | os.PathLike[str]) -> Contract:
    """Returns the Contract inside a .tflite file.

    Raises InputError when the file has none or is damaged. The contract is looked for first: the
    error for any .tflite from elsewhere is the missing contract, not the missing checksum.
    """
    try:
        tflite = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    text = extract(tflite, path)
    if text is None:
        raise InputError(f"{path}: no kseg contract inside; {REEXPORT}")
    contract = Contract.from_json(text, where=path)
    verify_checksum(tflite, path)
    return contract


def extract(tflite: bytes, where: str | os.PathLike[str] = "model") -> str | None:
    """Returns the JSON text of the contract inside a .tflite, None when there is none.

    Raises InputError, naming `where`, when the bytes are not a .tflite or corrupt.
    """
    from ai_edge_litert import schema_py_generated as schema

    if tflite[4:8] != b"TFL3":
        raise InputError(f"{where}: not a .tflite file (its first bytes are {tflite[:8]!r})")
    try:
        model = schema.Model.GetRootAs(tflite, 0)
        for i in range(model.MetadataLength()):
            if model.Metadata(i).Name() == METADATA_NAME.encode():
                data = model.Buffers(model.Metadata(i).Buffer()).DataAsNumpy()
                return data.tobytes().decode()
    except Exception as error:  # The generated reader does not check the file's offsets.
        raise InputError(f"{where}: corrupt .tflite file ({error}); {REEXPORT}") from error
    return None
