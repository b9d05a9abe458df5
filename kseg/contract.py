"""What a runner must know of an exported model: one JSON document inside the .tflite.

It lies in the file's metadata list under the name "kseg_contract" (a FlatBuffer buffer as any
other metadata, so every TFLite runtime ignores or finds it). deploy/README.md shows a whole one.
Behind the FlatBuffer, where TFLite runtimes do not look, the file ends with a seal: "KCRC" and the
CRC-32 of all bytes before it. A runner that checks it never runs damaged weights.
"""

import dataclasses
import json
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kseg.errors import InputError

METADATA_NAME = "kseg_contract"
VERSION = 1
SEAL = b"KCRC"
REEXPORT = "re-export it with `python -m kseg.export --tflite`"


@dataclass(frozen=True)
class Contract:
    """All a runner needs. Sizes are (height, width); frames are handed over as raw RGB 0..255."""

    model: str
    precision: str  # fp32, fp16 (weights), int8, int8-dynamic, int16x8
    input_size: tuple[int, int]
    input_dtype: str  # uint8 or float32, raw RGB either way
    channel_order: str  # RGB
    value_range: tuple[int, int]  # (0, 255): normalisation lies inside the graph
    fit: str  # letterbox, stretch or crop: kseg/preprocess.py
    pad_value: int  # colour of the letterbox bars
    output_kind: str  # class_map: (1, height, width) ids; logits: (1, height, width, classes)
    output_dtype: str  # uint8; logits: float32
    output_stride: int  # input pixels per output pixel
    labels: dict  # LabelSet.to_dict(): ids, names, colours, which are drivable
    dataset: str
    config_hash: str
    kseg_version: str
    metrics: dict  # measured on this very file by export's check
    profile: str = "cpu"  # the target the file was made for: kseg/export/profiles.py
    allowed_loss: float | None = None  # points of IoU that --allow-loss let pass
    gpu: dict | None = None  # {"verified", ...}: what export's run on a GPU found
    contract_version: int = VERSION

    def to_json(self):
        return json.dumps(dataclasses.asdict(self), indent=1, allow_nan=False)

    @classmethod
    def from_json(cls, text, where):
        """Raises InputError, naming `where`, on a newer version or a damaged document.

        Keys that this kseg does not know are left out: adding one does not raise the version.
        """
        try:
            document = json.loads(text)
            version = document["contract_version"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{where}: its kseg contract is damaged; {REEXPORT}") from error
        if not isinstance(version, int) or version > VERSION:
            raise InputError(
                f"{where}: kseg contract version {version} is newer than this kseg reads "
                f"({VERSION}); update kseg or {REEXPORT}"
            )
        try:
            known = {spec.name for spec in dataclasses.fields(cls)}
            contract = cls(**{k: v for k, v in document.items() if k in known})
            return dataclasses.replace(
                contract,
                input_size=tuple(contract.input_size),
                value_range=tuple(contract.value_range),
            )
        except TypeError as error:
            raise InputError(
                f"{where}: its kseg contract is damaged ({error}); {REEXPORT}"
            ) from error


def embed(tflite, contract):
    """Returns the .tflite (bytes) with the contract inside, in place of any older one, unsealed."""
    model = unpack(tflite)
    put(model, METADATA_NAME, contract.to_json().encode())
    return pack(model, len(tflite))


def put(model, name, data):
    """Puts bytes into a schema.ModelT's metadata under a name, in place of what is there."""
    from ai_edge_litert import schema_py_generated as schema

    model.metadata = model.metadata or []
    entry = next((m for m in model.metadata if m.name == name.encode()), None)
    if entry is None:
        entry = schema.MetadataT()
        entry.name, entry.buffer = name, len(model.buffers)
        model.metadata.append(entry)
        model.buffers.append(schema.BufferT())
    model.buffers[entry.buffer].data = list(data)


def unpack(tflite):
    """Returns a .tflite (bytes) as a schema.ModelT with all its weights.

    Some writers put large ones behind the graph, and there `pack` would leave them.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(tflite, 0)
    for buffer in model.buffers:
        if buffer.offset > 1:  # 0 and 1: there is nothing behind the graph.
            buffer.data = np.frombuffer(tflite, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return model


def pack(model, size):
    """Returns a schema.ModelT as the bytes of a .tflite; size: about how many there will be."""
    import flatbuffers

    builder = flatbuffers.Builder(size)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def append_checksum(tflite):
    """Returns a .tflite (bytes) with "KCRC" and the CRC-32 of all of it behind; the last step."""
    return tflite + SEAL + struct.pack("<I", zlib.crc32(tflite))


def verify_checksum(tflite, where="model"):
    """Raises InputError unless a .tflite (bytes) is whole, to the last bit, as `seal` left it."""
    if tflite[-8:-4] != SEAL:
        raise InputError(f"{where}: cut off, or not sealed by kseg.export; {REEXPORT}")
    if struct.unpack("<I", tflite[-4:])[0] != zlib.crc32(tflite[:-8]):
        raise InputError(
            f"{where}: damaged .tflite file (its checksum differs); copy it anew or {REEXPORT}"
        )


def read(path):
    """Returns the Contract inside a .tflite file. Raises InputError when there is none, or damage.

    A file without a contract is named as such before its missing seal is.
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


def extract(tflite, where="model"):
    """Returns the contract's JSON text inside a .tflite (bytes), None when it has none."""
    from ai_edge_litert import schema_py_generated as schema

    if tflite[4:8] != b"TFL3":
        raise InputError(f"{where}: not a .tflite file (its first bytes are {tflite[:8]!r})")
    try:
        model = schema.Model.GetRootAs(tflite, 0)
        for i in range(model.MetadataLength()):
            if model.Metadata(i).Name() == METADATA_NAME.encode():
                data = model.Buffers(model.Metadata(i).Buffer()).DataAsNumpy()
                return data.tobytes().decode()
    except Exception as error:  # The generated reader trusts every offset in the file.
        raise InputError(f"{where}: damaged .tflite file ({error}); {REEXPORT}") from error
    return None
