"""kseg_run.model: what it refuses, and GPUs that are absent, crash, hang or answer wrongly."""

import dataclasses
import functools
import json
import os
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from kseg_run import gpu, model
from kseg_run.contract import _parse as parse_json
from kseg_run.contract import read_contract
from kseg_run.errors import FrameError, InputError, LostError

from kseg import contract
from tests.conftest import ROOT

GOLDEN = ROOT / "tests" / "golden"
SWIFTSHADER = Path("/usr/lib/chromium/vk_swiftshader_icd.json")
# What gpu_child does, with LiteRT's interpreter in the GPU's place and a mishap at will.
FAKE = """
import os, signal, struct, sys, time
import numpy as np
mishap, asks, answers = sys.argv[1], sys.stdin.buffer, sys.stdout.buffer
if mishap == "deaf":
    signal.pause()
(length,) = struct.unpack("=q", asks.read(8))
tflite = asks.read(length)
if mishap == "absent":
    sys.exit("No adapters found")
whole = b"false" if mishap == "partly" else b"true"
answers.write(b'{"fully_accelerated": ' + whole + b"}\\n")
answers.flush()
from ai_edge_litert.interpreter import Interpreter
cpu = Interpreter(model_content=tflite, num_threads=1)
cpu.allocate_tensors()
takes, gives = cpu.get_input_details()[0], cpu.get_output_details()[0]
size = int(np.prod(takes["shape"])) * np.dtype(takes["dtype"]).itemsize
number = 0
while len(data := asks.read(size)) == size:
    if mishap == f"crash {number}":
        os.kill(os.getpid(), signal.SIGSEGV)
    if mishap == "hang":
        signal.pause()
    cpu.set_tensor(takes["index"], np.frombuffer(data, takes["dtype"]).reshape(takes["shape"]))
    cpu.invoke()
    answer = cpu.get_tensor(gives["index"])
    answers.write((answer * 0 + 1 if mishap == "wrong" else answer).tobytes())
    answers.flush()
    number += 1
"""


def read_rgb(name):
    return cv2.imread(str(GOLDEN / name), cv2.IMREAD_COLOR_RGB)


FRAME = read_rgb("fraction.png")


@pytest.fixture
def open_runner(tmp_path):
    """A function (mishap, device) -> a Runner on such a GPU, and the list of what it says."""
    script, opened = tmp_path / "fake.py", []
    script.write_text(FAKE)

    def open_it(mishap, device, path=GOLDEN / "model.tflite"):
        told = []
        child = functools.partial(gpu.Gpu, child=(sys.executable, str(script), mishap))
        opened.append(model.Runner(path, 1, device, say=told.append, open_gpu=child))
        return opened[-1], told

    yield open_it
    for runner in opened:
        runner.close()


@pytest.fixture(scope="module")
def expected():
    return model.Runner(GOLDEN / "model.tflite", 1)(FRAME)


def test_a_gpu_that_answers_as_the_cpu_is_used_and_said_so(open_runner, expected):
    runner, told = open_runner("none", "gpu")
    for _ in range(3):
        assert np.array_equal(runner(FRAME), expected)
    assert runner.device == "GPU"
    assert told == ["GPU: answers as the CPU on 100.000 % of the first frame's pixels"]


@pytest.mark.parametrize(
    ("mishap", "words"),
    [
        ("absent", "LiteRT does not run it on the GPU (No adapters found); running on the CPU"),
        ("partly", "the GPU does not take the whole graph; running on the CPU"),
        ("wrong", "of the first frame's pixels only (limit 99.5%); running on the CPU"),
        ("crash 0", "the GPU's driver crashed (SIGSEGV); running on the CPU"),
        ("crash 2", "the GPU's driver crashed (SIGSEGV); running on the CPU"),
        ("deaf", "no answer from the GPU within 0.2 s; running on the CPU"),
        ("hang", "no answer from the GPU within 0.2 s; running on the CPU"),
    ],
)
def test_auto_falls_back_to_the_cpu_and_says_why(open_runner, expected, monkeypatch, mishap, words):
    limit = {"deaf": "COMPILE_S", "hang": "ANSWER_S"}.get(mishap)
    if limit:
        monkeypatch.setattr(gpu, limit, 0.2)
    runner, told = open_runner(mishap, "auto")
    for _ in range(4):
        assert np.array_equal(runner(FRAME), expected)
    assert runner.device == "CPU"
    assert told[-1].startswith("no GPU: ") and told[-1].endswith(words), told


def test_a_gpu_that_was_asked_for_is_used_or_an_error(open_runner):
    for mishap in ("absent", "partly"):
        with pytest.raises(InputError, match="use --device cpu or auto"):
            open_runner(mishap, "gpu")
    wrong, _ = open_runner("wrong", "gpu")
    with pytest.raises(InputError, match=r"only \(limit 99\.5%\); use --device cpu"):
        wrong(FRAME)
    crashing, _ = open_runner("crash 1", "gpu")
    crashing(FRAME)
    with pytest.raises(LostError, match="SIGSEGV"):
        crashing(FRAME)


def test_a_closed_gpu_leaves_no_process_and_no_open_file(open_runner):
    before = set(os.listdir("/proc/self/fd"))
    runner, _ = open_runner("none", "gpu")
    runner(FRAME)
    process = runner._device._process
    runner.close()
    assert process.poll() is not None
    assert len(set(os.listdir("/proc/self/fd"))) == len(before)


def test_the_real_accelerator_without_a_device_is_a_fallback(monkeypatch, expected):
    for name in ("VK_DRIVER_FILES", "VK_ICD_FILENAMES"):
        monkeypatch.setenv(name, "/nothing")
    told = []
    runner = model.Runner(GOLDEN / "model.tflite", 1, "auto", say=told.append)
    assert np.array_equal(runner(FRAME), expected) and runner.device == "CPU"
    assert len(told) == 1 and "LiteRT does not run it on the GPU" in told[0]


@pytest.mark.slow
def test_the_real_accelerator_answers_as_the_cpu(monkeypatch, expected):
    if not SWIFTSHADER.exists():
        pytest.skip("no software Vulkan driver that LiteRT takes (apt-get install chromium)")
    for name in ("VK_DRIVER_FILES", "VK_ICD_FILENAMES"):
        monkeypatch.setenv(name, str(SWIFTSHADER))
    told = []
    runner = model.Runner(GOLDEN / "model.tflite", 1, "gpu", say=told.append)
    try:
        for _ in range(2):
            assert (runner(FRAME) == expected).mean() >= 0.999
        assert runner.device == "GPU" and "answers as the CPU on" in told[0]
    finally:
        runner.close()


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_a_model_file_swapped_under_it_changes_nothing(open_runner, expected, tmp_path, device):
    path = tmp_path / "model.tflite"
    path.write_bytes((GOLDEN / "model.tflite").read_bytes())
    runner, _ = open_runner("none", device, path)
    assert np.array_equal(runner(FRAME), expected)
    path.write_bytes(b"another model")
    assert np.array_equal(runner(FRAME), expected)
    os.truncate(path, 0)
    assert np.array_equal(runner(FRAME), expected)
    path.unlink()
    assert np.array_equal(runner(FRAME), expected)


def test_a_model_file_caught_half_copied_is_one_line(tmp_path):
    data, path = (GOLDEN / "model.tflite").read_bytes(), tmp_path / "model.tflite"
    for size in (0, 4, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises(InputError, match=r"cut off|not a \.tflite file|damaged \.tflite"):
            model.Runner(path)


def with_contract(path, **changes):
    whole = contract.read(GOLDEN / "model.tflite")
    tflite = (GOLDEN / "model.tflite").read_bytes()
    changed = contract.embed(tflite, dataclasses.replace(whole, **changes))
    path.write_bytes(contract.append_checksum(changed))
    return path


def test_contracts_are_read_as_strictly_as_by_the_cpp_runner(tmp_path):
    """What tests/golden/damaged.json leaves out."""
    classes = contract.read(GOLDEN / "model.tflite").labels["classes"]
    nameless = {key: value for key, value in classes[0].items() if key != "name"}
    for labels in ({"classes": []}, [], {"classes": [{**classes[0], "color": [0, 0]}]}):
        with pytest.raises(InputError, match=r"damaged \(labels\)"):
            model.Runner(with_contract(tmp_path / "changed.tflite", labels=labels))
    path = with_contract(tmp_path / "nameless.tflite", labels={"classes": [nameless, *classes[1:]]})
    assert model.Runner(path).contract["labels"]["classes"][0]["name"] == ""


def test_a_contracts_json_is_read_strictly():
    text = contract.read(GOLDEN / "model.tflite").to_json()
    tflite = (GOLDEN / "model.tflite").read_bytes()

    class Raw:
        def __init__(self, text):
            self.to_json = lambda: text

    for changed, words in (
        ("[" * 100_000, "nested too deeply"),
        (text.replace('"fit"', '"pad_value": 9, "fit"'), "a key comes twice"),
        (text.replace('"pad_value": 0', '"pad_value": NaN'), "NaN is no JSON"),
        (text[:-1], "its kseg contract is damaged"),
        ("[]", "damaged (contract_version)"),
        ("", "its kseg contract is damaged"),
        (text.replace("direct", "\\ud800"), "surrogates not allowed"),
        ("\ufeff" + text, "BOM"),
        (" " * 2_000_000, "longer than a contract can be"),
    ):
        with pytest.raises(InputError, match="its kseg contract is damaged") as error:
            read_contract(contract.embed(tflite, Raw(changed)), "raw.tflite")
        assert words in str(error.value)
    for encoding in ("utf-16", "utf-16-le", "utf-32-be", "latin-1"):
        encoded = text.replace("direct", "diréct").encode(encoding)
        with pytest.raises(ValueError, match=r"codec can't decode|Expecting|control character"):
            parse_json(encoded)
    assert read_contract(contract.embed(tflite, Raw(text)), "x") == json.loads(text)


def test_channels_beyond_the_classes_are_no_classes(runner_of_logits):
    rng = np.random.default_rng(0)
    logits = rng.integers(-3, 4, (5, 7, 4)).astype(np.float32)  # Many are equal.
    logits[..., 3] = 1e9
    assert np.array_equal(runner_of_logits._class_ids(logits), logits[..., :3].argmax(axis=-1))


@pytest.fixture
def runner_of_logits():
    runner = model.Runner(GOLDEN / "model.tflite", 1)
    runner.contract["output_kind"] = "logits"
    return runner


def test_a_frame_that_litert_or_opencv_fails_on_is_one_line_and_the_next_one_is_answered(
    monkeypatch, expected
):
    runner = model.Runner(GOLDEN / "model.tflite", 1)

    def invoke():
        raise RuntimeError("Node number 3 (CONV_2D) failed to invoke.\nmore")

    def resize(*args, **kwargs):
        raise cv2.error("OpenCV(5) alloc.cpp:73: error: (-4) Failed to allocate")

    for holder, name, failing, words in (
        (runner._cpu._interpreter, "invoke", invoke, r"run the model \(Node .* to invoke\.\)$"),
        (cv2, "resize", resize, "cannot be fitted"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(holder, name, failing)
            with pytest.raises(FrameError, match=words):
                runner(FRAME)
        assert np.array_equal(runner(FRAME), expected)


def test_frames_that_no_memory_holds_are_refused():
    runner = model.Runner(GOLDEN / "model.tflite", 1)
    runner.contract["fit"] = "crop"
    with pytest.raises(FrameError, match=r"\(30000, 1\) is too narrow to crop to \(72, 128\)"):
        runner(np.zeros((30000, 1, 3), np.uint8))
    with pytest.raises(FrameError, match="expected RGB of 1 to 32768 pixels a side"):
        runner(np.zeros((0, 4, 3), np.uint8))
