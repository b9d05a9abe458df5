"""Metadata of an .onnx file, read without the package onnx.

An .onnx file is one protobuf message, ModelProto: a sequence of fields, each a tag (field number
and wire type) and a value. Only its top level is read here; the graph is one field of it.
"""

from collections.abc import Iterator

_IR_VERSION_TAG = b"\x08"  # Field 1, which writers put first.
_METADATA = 14  # metadata_props: messages {1: key, 2: value}
_VARINT, _BYTES8, _LENGTH, _BYTES4 = 0, 1, 2, 5  # wire types


def is_onnx(data: bytes) -> bool:
    """Whether a file looks like .onnx (its format has no magic number). Not so for a .tflite."""
    return data[:1] == _IR_VERSION_TAG and data[4:8] != b"TFL3"


def read_metadata(data: bytes, key: str) -> bytes | None:
    """Returns the first value with that key, None when there is none.

    Raises ValueError when the bytes are not a protobuf message.
    """
    for number, value in _fields(memoryview(data)):
        if number == _METADATA and isinstance(value, memoryview):
            entry = {n: v for n, v in _fields(value) if isinstance(v, memoryview)}
            if entry.get(1) == key.encode():
                return bytes(entry.get(2, b""))
    return None


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yields (field number, value): a varint as an int, all others as bytes."""
    position = 0
    while position < len(data):
        tag, position = _read_varint(data, position)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == _VARINT:
            value, position = _read_varint(data, position)
            yield number, value
            continue
        if wire_type == _LENGTH:
            size, position = _read_varint(data, position)
        elif wire_type in (_BYTES8, _BYTES4):
            size = 8 if wire_type == _BYTES8 else 4
        else:
            raise ValueError(f"wire type {wire_type}")
        if size > len(data) - position:
            raise ValueError("truncated")
        yield number, data[position : position + size]
        position += size


def _read_varint(data: memoryview, position: int) -> tuple[int, int]:
    """Returns (value, position after it): 7 bits a byte, the lowest first."""
    value = shift = 0
    while position < len(data) and shift < 64:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, position
    raise ValueError("truncated")
