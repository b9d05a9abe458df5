"""Standard TFLite metadata, read back by field numbers and by MediaPipe."""

import dataclasses
import io
import zipfile

import flatbuffers
import numpy as np
import pytest
from flatbuffers import number_types
from flatbuffers.table import Table

from kseg import contract
from kseg.export import tflite_metadata
from kseg.labels import BDD100K_DRIVABLE

SIZE = (20, 31)
CONTRACT = contract.Contract(
    model="unet",
    precision="fp32",
    input_size=SIZE,
    input_dtype="uint8",
    channel_order="RGB",
    value_range=(0, 255),
    fit="stretch",
    pad_value=0,
    output_kind="logits",
    output_dtype="float32",
    output_stride=1,
    labels=BDD100K_DRIVABLE.to_dict(),
    dataset="bdd100k-drivable",
    config_hash="0" * 12,
    kseg_version="0.1.0",
    metrics={},
)


@pytest.fixture(scope="module", params=["uint8", "float32"])
def plain(request, tmp_path_factory):
    """A .tflite (bytes) without metadata: raw RGB of the dtype -> (1, H, W, 3) float32 logits."""
    import tensorflow as tf

    kernel = np.random.default_rng(0).normal(size=(3, 3, 3, 3)).astype(np.float32)

    class Model(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((1, *SIZE, 3), request.param, name="image")])
        def serve(self, image):
            x = tf.cast(image, tf.float32) / 255 - 0.5
            return {"logits": tf.nn.conv2d(x, kernel, 1, "SAME")}

    model, folder = Model(), str(tmp_path_factory.mktemp("saved"))
    tf.saved_model.save(model, folder, signatures={"serve": model.serve})
    return tf.lite.TFLiteConverter.from_saved_model(folder).convert()


@pytest.fixture(scope="module")
def tflite(plain):
    return contract.append_checksum(
        tflite_metadata.embed(contract.embed(plain, CONTRACT), CONTRACT)
    )


def run(tflite, frame):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=tflite)
    interpreter.allocate_tensors()
    (image,), (output,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.set_tensor(image["index"], frame[None].astype(image["dtype"]))
    interpreter.invoke()
    return interpreter.get_tensor(output["index"])[0], image["name"], output["name"]


def frame():
    return np.random.default_rng(1).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def test_the_output_is_unchanged_and_tensors_have_the_names_of_the_signature(plain, tflite):
    before, *_ = run(plain, frame())
    after, input_name, output_name = run(tflite, frame())
    assert np.array_equal(before, after) and (input_name, output_name) == ("image", "logits")
    assert contract.Contract.from_json(contract.extract(tflite), "x") == CONTRACT


def test_embedding_is_reproducible_and_replaces_earlier_metadata(plain, tflite):
    assert (
        contract.append_checksum(tflite_metadata.embed(contract.embed(plain, CONTRACT), CONTRACT))
        == tflite
    )
    assert contract.append_checksum(tflite_metadata.embed(tflite, CONTRACT)) == tflite


def test_any_unzip_finds_the_labels_after_the_model(tflite):
    with zipfile.ZipFile(io.BytesIO(tflite)) as archive:
        assert archive.testzip() is None and archive.namelist() == ["labels.txt"]
        assert archive.read("labels.txt") == b"direct\nalternative\nbackground\n"
        (entry,) = archive.infolist()
        assert entry.compress_type == zipfile.ZIP_STORED  # MediaPipe reads no other.
        assert entry.date_time == (1980, 1, 1, 0, 0, 0)  # The clock leaves no trace.


class Reader:
    """Reads a FlatBuffer table by field numbers, independently of the writer."""

    def __init__(self, table):
        self.table = table

    @classmethod
    def root(cls, data, identifier):
        assert data[4:8] == identifier
        start = flatbuffers.encode.Get(number_types.UOffsetTFlags.packer_type, data, 0)
        return cls(Table(bytearray(data), start))

    def at(self, number):
        offset = self.table.Offset(4 + 2 * number)
        assert offset, f"no field {number}"
        return offset + self.table.Pos

    def text(self, number):
        return self.table.String(self.at(number)).decode()

    def scalar(self, number, flags):
        return self.table.Get(flags, self.at(number))

    def child(self, number):
        return Reader(Table(self.table.Bytes, self.table.Indirect(self.at(number))))

    def items(self, number):
        offset = self.at(number) - self.table.Pos
        start = self.table.Vector(offset)
        places = range(start, start + 4 * self.table.VectorLen(offset), 4)
        return [Reader(Table(self.table.Bytes, self.table.Indirect(place))) for place in places]

    def numbers(self, number, flags):
        offset = self.at(number) - self.table.Pos
        start, width = self.table.Vector(offset), flags.bytewidth
        return [
            self.table.Get(flags, start + width * i) for i in range(self.table.VectorLen(offset))
        ]


def buffer(tflite):
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(tflite, 0)
    entries = [model.Metadata(i) for i in range(model.MetadataLength())]
    (entry,) = [e for e in entries if e.Name() == b"TFLITE_METADATA"]
    return model.Buffers(entry.Buffer()).DataAsNumpy().tobytes()


def test_metadata_reads_back_by_the_schema(tflite):
    # A field number is the field's position in tflite-support's metadata_schema.fbs.
    model = Reader.root(buffer(tflite), b"M001")
    assert model.text(0) == "kseg unet" and model.text(7) == "1.5.0"
    (graph,) = model.items(3)
    (image,), (output,) = graph.items(2), graph.items(3)
    assert (image.text(0), output.text(0)) == ("image", "logits")

    content = image.child(3)
    assert content.scalar(0, number_types.Uint8Flags) == 2  # ImageProperties.
    size = content.child(1).child(1)
    width, height = (size.scalar(i, number_types.Uint32Flags) for i in (0, 1))
    assert (height, width) == SIZE
    (unit,) = image.items(4)
    assert unit.scalar(0, number_types.Uint8Flags) == 1  # NormalizationOptions.
    mean, deviation = (unit.child(1).numbers(i, number_types.Float32Flags) for i in (0, 1))
    assert (mean, deviation) == ([0.0], [1.0])

    (file,) = output.items(6)
    assert file.text(0) == "labels.txt" and file.scalar(2, number_types.Int8Flags) == 2
    (custom,) = graph.items(9)
    options = bytes(custom.numbers(1, number_types.Uint8Flags))
    assert custom.text(0) == "SEGMENTER_METADATA"
    activation = Reader.root(options, b"V001").scalar(0, number_types.Int8Flags)
    assert activation == 2  # Softmax.


def test_the_labels_of_a_class_map_are_those_of_its_values(plain):
    class_map_contract = dataclasses.replace(CONTRACT, output_kind="class_map")
    (graph,) = Reader.root(buffer(tflite_metadata.embed(plain, class_map_contract)), b"M001").items(
        3
    )
    (file,) = graph.items(3)[0].items(6)
    assert file.scalar(2, number_types.Int8Flags) == 3  # TENSOR_VALUE_LABELS.


def test_mediapipe_reads_the_classes_and_predicts_the_same(tflite, tmp_path):
    mediapipe = pytest.importorskip("mediapipe", reason="MediaPipe is not installed")
    from mediapipe.tasks.python import BaseOptions, vision

    path = tmp_path / "model.tflite"
    path.write_bytes(tflite)
    options = vision.ImageSegmenterOptions(
        base_options=BaseOptions(model_asset_path=str(path)),
        output_category_mask=True,
        output_confidence_masks=True,
    )
    logits, *_ = run(tflite, frame())
    exponents = np.exp(logits - logits.max(-1, keepdims=True))
    with vision.ImageSegmenter.create_from_options(options) as segmenter:
        assert segmenter.labels == BDD100K_DRIVABLE.names
        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=frame())
        result = segmenter.segment(image)
    class_map = np.squeeze(result.category_mask.numpy_view())
    assert len(np.unique(class_map)) == 3 and np.array_equal(class_map, logits.argmax(-1))
    masks = np.stack([np.squeeze(m.numpy_view()) for m in result.confidence_masks], axis=-1)
    assert np.allclose(masks, exponents / exponents.sum(-1, keepdims=True), atol=1e-5)
