"""Standard TFLite metadata beside the contract, for MediaPipe's ImageSegmenter and Netron.

It is a FlatBuffer of its own (metadata_schema.fbs of tflite-support, identifier M001) in the
metadata buffer "TFLITE_METADATA", and a labels.txt in a zip archive appended to the model. It says
that pixel values go in unchanged (mean 0, deviation 1), because normalisation is inside the graph.

ImageSegmenter needs files with float32 logits as output (input uint8 or float32). It also opens a
file with a class map, with or without metadata, and misreads its bytes as floats. It stretches
frames to the input size, whatever the contract's fit.
"""

import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import flatbuffers

from kseg.contract import Contract, pack, set_metadata, unpack

METADATA_NAME = "TFLITE_METADATA"
LABELS_FILE = "labels.txt"

# Tables of metadata_schema.fbs: all fields in the order of the schema, which gives their numbers,
# up to the last one written here. The value is a scalar's type, None for text, vectors and tables.
# A union has two fields: its type and its value.
_MODEL = dict.fromkeys(
    ("name", "description", "version", "subgraphs", "author", "license", "files", "parser_version")
)
_SUBGRAPH = dict.fromkeys(
    (
        *("name", "description", "inputs", "outputs", "files", "input_process_units"),
        *("output_process_units", "input_groups", "output_groups", "custom_metadata"),
    )
)
_TENSOR = dict.fromkeys(
    ("name", "description", "dimension_names", "content", "process_units", "stats", "files")
)
_STATS = dict.fromkeys(("max", "min"))
_ASSOCIATED_FILE = {"name": None, "description": None, "type": "Int8"}
_CONTENT = {"properties_type": "Uint8", "properties": None}
_IMAGE_PROPERTIES = {"color_space": "Int8", "default_size": None}
_IMAGE_SIZE = {"width": "Uint32", "height": "Uint32"}
_PROCESS_UNIT = {"options_type": "Uint8", "options": None}
_NORMALIZATION_OPTIONS = dict.fromkeys(("mean", "std"))
_CUSTOM_METADATA = dict.fromkeys(("name", "data"))
# MediaPipe's image_segmenter_metadata_schema.fbs.
_SEGMENTER_OPTIONS = {"activation": "Int8", "parser_version": None}

# Values of the schemas' enums and unions.
_TENSOR_AXIS_LABELS, _TENSOR_VALUE_LABELS = 2, 3  # AssociatedFileType
_RGB = 1  # ColorSpaceType
_IS_IMAGE = 2  # ContentProperties
_IS_NORMALIZATION = 1  # ProcessUnitOptions
_SOFTMAX = 2  # Activation: makes ImageSegmenter's confidence masks probabilities.
_PARSER_VERSION = "1.5.0"  # The first with custom metadata.


def embed(tflite: bytes, contract: Contract) -> bytes:
    """Returns the .tflite with standard metadata for its Contract.

    The graph's input and output get the names of the signature ("image", "class_map", ...). Earlier
    metadata is replaced; the same input gives the same bytes. This must be the last step that
    repacks the file, because repacking loses the archive after it; only the checksum follows.
    """
    model = unpack(tflite)
    input_name, output_name = _name_input_and_output(model)
    set_metadata(model, METADATA_NAME, _model_metadata(contract, input_name, output_name))
    return _append_file(pack(model, len(tflite)), LABELS_FILE, _labels(contract))


def _labels(contract: Contract) -> str:
    return "\n".join(c["name"] for c in contract.labels["classes"]) + "\n"


def _append_file(tflite: bytes, name: str, text: str) -> bytes:
    """Appends a zip archive with one stored file; its fixed date keeps the bytes reproducible."""
    file = io.BytesIO()
    file.write(tflite)
    with zipfile.ZipFile(file, "a", zipfile.ZIP_STORED) as archive:
        entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
        entry.create_system, entry.external_attr = 3, 0o644 << 16  # Unix, on every platform.
        archive.writestr(entry, text)
    return file.getvalue()


def _name_input_and_output(model: Any) -> tuple[str, str]:
    """Gives the graph's input and output the names of its signature. Returns both names."""
    graph, signature = model.subgraphs[0], model.signatureDefs[0]
    for tensor in [*signature.inputs, *signature.outputs]:
        graph.tensors[tensor.tensorIndex].name = tensor.name
    return signature.inputs[0].name.decode(), signature.outputs[0].name.decode()


def _model_metadata(contract: Contract, input_name: str, output_name: str) -> bytes:
    """Returns the ModelMetadata FlatBuffer."""
    builder = flatbuffers.Builder(1024)
    is_logits = contract.output_kind == "logits"
    classes = ", ".join(c["name"] for c in contract.labels["classes"])
    image = _input_tensor(builder, input_name, contract.input_size)
    output = _output_tensor(builder, output_name, classes, is_logits)
    subgraph = {"inputs": _vector(builder, [image]), "outputs": _vector(builder, [output])}
    if is_logits:
        custom = {
            "name": builder.CreateString("SEGMENTER_METADATA"),
            "data": _bytes(builder, _segmenter_options()),
        }
        custom_table = _table(builder, _CUSTOM_METADATA, custom)
        subgraph["custom_metadata"] = _vector(builder, [custom_table])
    model = {
        "name": builder.CreateString(f"kseg {contract.model}"),
        "description": builder.CreateString(f"Semantic segmentation of road scenes: {classes}."),
        "version": builder.CreateString(contract.kseg_version),
        "subgraphs": _vector(builder, [_table(builder, _SUBGRAPH, subgraph)]),
        "parser_version": builder.CreateString(_PARSER_VERSION),
    }
    builder.Finish(_table(builder, _MODEL, model), file_identifier=b"M001")
    return bytes(builder.Output())


def _input_tensor(builder: flatbuffers.Builder, name: str, size: tuple[int, int]) -> int:
    fields = {
        "name": builder.CreateString(name),
        "description": builder.CreateString(
            "RGB frame, 0 to 255 as it is: normalisation lies in the graph."
        ),
        "content": _image_content(builder, size),
        "process_units": _vector(builder, [_no_normalization(builder)]),
        "stats": _table(
            builder, _STATS, {"max": _floats(builder, [255]), "min": _floats(builder, [0])}
        ),
    }
    return _table(builder, _TENSOR, fields)


def _output_tensor(builder: flatbuffers.Builder, name: str, classes: str, is_logits: bool) -> int:
    labels = {
        "name": builder.CreateString(LABELS_FILE),
        "description": builder.CreateString("Class names, one a line, in the order of their ids."),
        "type": _TENSOR_AXIS_LABELS if is_logits else _TENSOR_VALUE_LABELS,
    }
    labels_file = _table(builder, _ASSOCIATED_FILE, labels)
    kind = "Logits of" if is_logits else "Ids, in this order, of"
    fields = {
        "name": builder.CreateString(name),
        "description": builder.CreateString(f"{kind} {classes}."),
        "files": _vector(builder, [labels_file]),
    }
    return _table(builder, _TENSOR, fields)


def _image_content(builder: flatbuffers.Builder, size: tuple[int, int]) -> int:
    """A Content table: an RGB image of size (height, width)."""
    size_table = _table(builder, _IMAGE_SIZE, {"width": size[1], "height": size[0]})
    image = _table(builder, _IMAGE_PROPERTIES, {"color_space": _RGB, "default_size": size_table})
    return _table(builder, _CONTENT, {"properties_type": _IS_IMAGE, "properties": image})


def _no_normalization(builder: flatbuffers.Builder) -> int:
    """A ProcessUnit table that changes nothing: (value - 0) / 1."""
    values = {"mean": _floats(builder, [0]), "std": _floats(builder, [1])}
    options = _table(builder, _NORMALIZATION_OPTIONS, values)
    return _table(builder, _PROCESS_UNIT, {"options_type": _IS_NORMALIZATION, "options": options})


def _segmenter_options() -> bytes:
    """Returns MediaPipe's ImageSegmenterOptions FlatBuffer."""
    builder = flatbuffers.Builder(64)
    options = {"activation": _SOFTMAX, "parser_version": builder.CreateString("1.0.0")}
    builder.Finish(_table(builder, _SEGMENTER_OPTIONS, options), file_identifier=b"V001")
    return bytes(builder.Output())


def _table(
    builder: flatbuffers.Builder, schema: Mapping[str, str | None], values: Mapping[str, int]
) -> int:
    """Writes a table, fields in the order of `values`. Returns its offset.

    values: {field: scalar, or the offset of a text, vector or table}.
    """
    numbers = {field: number for number, field in enumerate(schema)}
    builder.StartObject(len(schema))
    for field, value in values.items():
        scalar_type = schema[field]
        if scalar_type is None:
            builder.PrependUOffsetTRelativeSlot(numbers[field], value, 0)
        else:
            getattr(builder, f"Prepend{scalar_type}Slot")(numbers[field], value, 0)
    return builder.EndObject()


def _vector(builder: flatbuffers.Builder, offsets: Sequence[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()


def _floats(builder: flatbuffers.Builder, values: Sequence[float]) -> int:
    builder.StartVector(4, len(values), 4)
    for value in reversed(values):
        builder.PrependFloat32(value)
    return builder.EndVector()


def _bytes(builder: flatbuffers.Builder, data: bytes) -> int:
    builder.StartVector(1, len(data), 16)  # The schema requires an alignment of 16.
    for byte in reversed(data):
        builder.PrependUint8(byte)
    return builder.EndVector()
