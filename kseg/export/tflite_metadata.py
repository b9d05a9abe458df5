"""Standard TFLite metadata beside our contract: what MediaPipe's ImageSegmenter and Netron read.

A FlatBuffer of its own (metadata_schema.fbs of tflite-support, identifier M001) in the metadata
buffer "TFLITE_METADATA", and labels.txt in a zip archive behind the model's own bytes. It says that
values go in as they are (mean 0, deviation 1), for our normalisation lies in the graph.

ImageSegmenter needs files that answer float32 logits (uint8 or float32 in). A file that answers a
class map it opens too, with or without metadata, and misreads its bytes as floats. It stretches
frames to the input, whatever the contract's fit.
"""

import io
import zipfile

import flatbuffers

from kseg.contract import pack, set_metadata, unpack

METADATA_NAME = "TFLITE_METADATA"
LABELS_FILE = "labels.txt"

# Numbers of metadata_schema.fbs and of image_segmenter_metadata_schema.fbs.
_AXIS_LABELS, _VALUE_LABELS = 2, 3  # AssociatedFileType
_RGB = 1  # ColorSpaceType
_IMAGE_PROPERTIES = 2  # ContentProperties, a union
_NORMALIZATION = 1  # ProcessUnitOptions, a union
_SOFTMAX = 2  # Activation: makes ImageSegmenter's confidence masks probabilities.
_PARSER_VERSION = "1.5.0"  # Custom metadata came with it.


def embed(tflite, contract):
    """Returns the .tflite (bytes) with standard metadata for its Contract.

    The graph's input and output get their names from the signature ("image", "class_map", ...).
    Metadata already there is replaced; the same file comes out byte for byte each time. Must be
    the last to repack the file, which loses the archive behind it; only the seal comes after.
    """
    model = unpack(tflite)
    names = _name_ends(model)
    set_metadata(model, METADATA_NAME, _model_metadata(contract, *names))
    return _append(pack(model, len(tflite)), LABELS_FILE, _labels(contract))


def labels(tflite):
    """Returns the class names that lie behind a .tflite (bytes) as the standard has it."""
    with zipfile.ZipFile(io.BytesIO(tflite)) as archive:
        return archive.read(LABELS_FILE).decode().splitlines()


def _labels(contract):
    return "\n".join(c["name"] for c in contract.labels["classes"]) + "\n"


def _append(tflite, name, text):
    """Appends a zip archive of one stored file; a fixed date makes equal input equal output."""
    file = io.BytesIO()
    file.write(tflite)
    with zipfile.ZipFile(file, "a", zipfile.ZIP_STORED) as archive:
        entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
        entry.create_system, entry.external_attr = 3, 0o644 << 16  # Unix, whatever wrote it.
        archive.writestr(entry, text)
    return file.getvalue()


def _name_ends(model):
    """Gives the graph's input and output the names of its signature. Returns both."""
    graph, signature = model.subgraphs[0], model.signatureDefs[0]
    for end in [*signature.inputs, *signature.outputs]:
        graph.tensors[end.tensorIndex].name = end.name
    return signature.inputs[0].name.decode(), signature.outputs[0].name.decode()


def _model_metadata(contract, input_name, output_name):
    """Returns the ModelMetadata of a Contract as bytes."""
    builder = flatbuffers.Builder(1024)
    text = builder.CreateString
    logits = contract.output_kind == "logits"
    classes = ", ".join(c["name"] for c in contract.labels["classes"])
    image = _table(
        builder,
        {
            0: text(input_name),
            1: text("RGB frame, 0 to 255 as it is: normalisation lies in the graph."),
            3: _image_content(builder, contract.input_size),
            4: _vector(builder, [_as_it_is(builder)]),
            5: _table(builder, {0: _floats(builder, [255]), 1: _floats(builder, [0])}),
        },
    )
    told = "Logits of" if logits else "Ids, in this order, of"
    file = _table(
        builder,
        {
            0: text(LABELS_FILE),
            1: text("Class names, one a line, in the order of their ids."),
            2: ("Int8", _AXIS_LABELS if logits else _VALUE_LABELS),
        },
    )
    answer = _table(
        builder,
        {0: text(output_name), 1: text(f"{told} {classes}."), 6: _vector(builder, [file])},
    )
    graph = {2: _vector(builder, [image]), 3: _vector(builder, [answer])}
    if logits:
        custom = {0: text("SEGMENTER_METADATA"), 1: _bytes(builder, _segmenter_options())}
        graph[9] = _vector(builder, [_table(builder, custom)])
    whole = _table(
        builder,
        {
            0: text(f"kseg {contract.model}"),
            1: text(f"Semantic segmentation of road scenes: {classes}."),
            2: text(contract.kseg_version),
            3: _vector(builder, [_table(builder, graph)]),
            7: text(_PARSER_VERSION),
        },
    )
    builder.Finish(whole, file_identifier=b"M001")
    return bytes(builder.Output())


def _image_content(builder, size):
    """A Content: an RGB image of size (height, width)."""
    size = _table(builder, {0: ("Uint32", size[1]), 1: ("Uint32", size[0])})
    image = _table(builder, {0: ("Int8", _RGB), 1: size})
    return _table(builder, {0: ("Uint8", _IMAGE_PROPERTIES), 1: image})


def _as_it_is(builder):
    """A ProcessUnit: (value - 0) / 1."""
    options = _table(builder, {0: _floats(builder, [0]), 1: _floats(builder, [1])})
    return _table(builder, {0: ("Uint8", _NORMALIZATION), 1: options})


def _segmenter_options():
    """MediaPipe's ImageSegmenterOptions as bytes."""
    builder = flatbuffers.Builder(64)
    options = {0: ("Int8", _SOFTMAX), 1: builder.CreateString("1.0.0")}
    builder.Finish(_table(builder, options), file_identifier=b"V001")
    return bytes(builder.Output())


def _table(builder, fields):
    """Writes a table of {field number: offset, or (scalar type, value)}. Returns its offset."""
    builder.StartObject(max(fields) + 1)
    for number, value in fields.items():
        if isinstance(value, tuple):
            kind, value = value
            getattr(builder, f"Prepend{kind}Slot")(number, value, 0)
        else:
            builder.PrependUOffsetTRelativeSlot(number, value, 0)
    return builder.EndObject()


def _vector(builder, offsets):
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()


def _floats(builder, values):
    builder.StartVector(4, len(values), 4)
    for value in reversed(values):
        builder.PrependFloat32(value)
    return builder.EndVector()


def _bytes(builder, data):
    builder.StartVector(1, len(data), 16)  # The schema asks for 16.
    for byte in reversed(data):
        builder.PrependUint8(byte)
    return builder.EndVector()
