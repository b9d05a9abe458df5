"""kseg-run on an .onnx: the CPU, and what stands for TensorRT and CUDA in a child process."""

import json
import struct
import sys
import zlib

import numpy as np
import pytest
from kseg_run import command, onnx_model, onnx_worker
from kseg_run import onnx_file as runner_onnx_file
from kseg_run.contract import read_contract, verify_checksum
from kseg_run.errors import FrameError, InputError
from kseg_run.segmenter import Segmenter

from kseg import contract, onnx_file, preprocess
from kseg.runtime.exported_file import load
from tests.conftest import ROOT, SIZE, scene
from tests.onnx_files import finish, tiny_model

CPU = "CPUExecutionProvider"
GOLDEN = ROOT / "tests" / "golden"


@pytest.fixture(scope="module")
def frame():
    return scene(np.random.default_rng(9), (120, 181))[0][..., ::-1].copy()


@pytest.fixture(scope="module")
def expected(onnx_paths, frame):
    image = preprocess.fit_image(frame, SIZE, "letterbox")
    class_map = load(onnx_paths["fp32"].read_bytes())(image)
    return preprocess.unfit_class_map(class_map, frame.shape[:2], "letterbox")


@pytest.fixture
def open_tiny(onnx_paths, tmp_path, monkeypatch):
    """A function (graph of the CPU, graph of the GPU, device) -> Segmenter, lines that it logs.

    ONNX Runtime's CPU provider stands for the GPU's, in a real child process.
    """
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(onnx_model, "PROVIDERS", {"TensorRT": CPU})
    text = onnx_file.read_metadata(onnx_paths["fp32"].read_bytes(), "kseg_contract")
    opened = []

    def open_it(on_cpu, on_gpu, device):
        path, lines = tmp_path / "road.onnx", []
        path.write_bytes(finish(on_cpu, text))

        def open_gpu(data, *details):
            return onnx_model.open_gpu(finish(on_gpu, text), *details)

        opened.append(Segmenter(path, 1, device, log=lines.append, open_gpu=open_gpu))
        return opened[-1], lines

    yield open_it
    for segmenter in opened:
        segmenter.close()


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_command_writes_keras_class_map(onnx_paths, frame, expected, tmp_path, precision):
    import cv2

    path = tmp_path / "street.png"
    cv2.imwrite(str(path), frame[..., ::-1])
    flags = ["--no-overlays", "--save-masks", "--json", str(tmp_path / "a.jsonl")]
    argv = [str(onnx_paths[precision]), str(path), "--out", str(tmp_path / "out"), *flags]
    assert command.main(argv) == 0
    mask = cv2.imread(str(tmp_path / "out/masks/street.png"), cv2.IMREAD_UNCHANGED)
    assert (mask == expected).mean() > 0.995
    assert json.loads((tmp_path / "a.jsonl").read_text())["device"] == "CPU"


def test_the_summary_names_runtime_and_provider(onnx_paths, frame, tmp_path, capsys):
    import cv2

    cv2.imwrite(str(tmp_path / "street.png"), frame)
    argv = [onnx_paths["fp32"], tmp_path / "street.png", "--out", tmp_path / "out"]
    assert command.main([str(word) for word in argv]) == 0
    assert "ONNX Runtime " in (out := capsys.readouterr().out) and ", CPU" in out


def test_without_a_provider_for_gpus_auto_says_so_and_gpu_is_refused(onnx_paths, frame, expected):
    lines = []
    segmenter = Segmenter(onnx_paths["fp32"], 1, "auto", log=lines.append)
    assert np.array_equal(segmenter(frame), expected) and segmenter.device == "CPU"
    assert "neither TensorRT nor CUDA" in lines[0]
    with pytest.raises(InputError, match=r"neither TensorRT nor CUDA.*--device cpu"):
        Segmenter(onnx_paths["fp32"], 1, "gpu")


def test_a_provider_that_agrees_is_used(open_tiny, frame):
    graph = tiny_model(SIZE)
    segmenter, lines = open_tiny(graph, graph, "gpu")
    class_map = segmenter(frame)
    assert segmenter.device == "TensorRT" and "100.000 %" in lines[0]
    assert np.array_equal(segmenter(frame), class_map)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (tiny_model(SIZE, shift=1), "(limit 99.5%)"),
        (tiny_model(SIZE, value=1), "(limit 99.5%)"),
        (tiny_model(SIZE, value=255), "no class"),
    ],
    ids=["swapped classes", "one class", "NaN logits"],
)
def test_a_provider_that_is_wrong_is_not_used(open_tiny, frame, wrong, words):
    right = tiny_model(SIZE)
    segmenter, lines = open_tiny(right, wrong, "auto")
    on_cpu, _ = open_tiny(right, right, "cpu")
    assert np.array_equal(segmenter(frame), on_cpu(frame)) and segmenter.device == "CPU"
    assert words in lines[-1]
    strict, _ = open_tiny(right, wrong, "gpu")
    with pytest.raises(InputError, match="--device cpu"):
        strict(frame)


def test_a_provider_that_does_not_load_is_no_silent_fallback(open_tiny, frame, monkeypatch):
    """onnxruntime names TensorRT although its libraries are missing, and would run on the CPU."""
    import onnxruntime

    graph = tiny_model(SIZE)
    monkeypatch.setattr(onnx_model, "PROVIDERS", {"CUDA": "CUDAExecutionProvider"})
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    segmenter, lines = open_tiny(graph, graph, "auto")
    assert segmenter.device == "CPU" and "CUDA" in lines[0]


def test_tensorrt_builds_fp16_engines_for_fp16_files_in_a_folder_of_their_own(tmp_path):
    (name, options), fallback = onnx_worker.providers(
        "TensorrtExecutionProvider", "fp16", str(tmp_path / "engines")
    )
    assert (name, fallback) == ("TensorrtExecutionProvider", "CUDAExecutionProvider")
    assert options["trt_fp16_enable"] and options["trt_layer_norm_fp32_fallback"]
    assert onnx_model.engine_cache(b"a") != onnx_model.engine_cache(b"b")


def test_a_class_map_without_class_is_refused(open_tiny, frame):
    segmenter, _ = open_tiny(tiny_model(SIZE, value=255), tiny_model(SIZE), "cpu")
    with pytest.raises(FrameError, match="no class"):
        segmenter(frame)


def test_contracts_are_refused_as_those_of_a_tflite():
    """The cases of damaged.json that change the contract's text."""
    text = contract.extract((GOLDEN / "model.tflite").read_bytes())
    tried = 0
    for case in json.loads((GOLDEN / "damaged.json").read_text()):
        old, new = case.get("replace", ("kseg_contract", ""))
        if old not in text or "its graph" in case["error"]:
            continue
        data = finish(tiny_model(SIZE), text.replace(old, new, 1).encode())
        with pytest.raises(InputError) as error:
            read_contract(data, "road.onnx")
        problem, _, _ = case["error"].partition("*")
        assert str(error.value).startswith(f"road.onnx: {problem}".replace("--tflite", "--onnx"))
        tried += 1
    assert tried > 10


def test_a_newer_contract_and_a_damaged_file_are_refused(onnx_paths):
    data = onnx_paths["fp32"].read_bytes()
    document = json.loads(onnx_file.read_metadata(data, "kseg_contract"))
    newer = finish(tiny_model(SIZE), json.dumps(document | {"contract_version": 2}).encode())
    with pytest.raises(InputError, match="version 2 is newer"):
        read_contract(newer, "road.onnx")
    with pytest.raises(InputError, match="no kseg contract inside"):
        read_contract(tiny_model(SIZE), "road.onnx")
    damaged = bytearray(data)
    damaged[len(data) // 2] ^= 1
    with pytest.raises(InputError, match="checksum mismatch"):
        verify_checksum(bytes(damaged), "road.onnx")
    verify_checksum(data, "road.onnx")
    assert struct.unpack("<I", data[-4:])[0] == zlib.crc32(data[:-8])


def test_both_readers_of_metadata_agree(onnx_paths):
    data = onnx_paths["fp16"].read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(200):
        broken = bytearray(data[-6000:] if rng.random() < 0.5 else data[:6000])
        broken[:1] = b"\x08"
        broken[int(rng.integers(len(broken)))] = int(rng.integers(256))
        results = []
        for module in (onnx_file, runner_onnx_file):
            try:
                results.append(module.read_metadata(bytes(broken), "kseg_contract"))
            except ValueError as error:
                results.append(str(error))
        assert results[0] == results[1]


def test_a_missing_onnxruntime_is_one_line(onnx_paths, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match="pip install onnxruntime"):
        Segmenter(onnx_paths["fp32"])
