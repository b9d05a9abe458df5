"""kseg_run.segmenter: what it refuses, and GPUs that are absent, crash, hang or are wrong."""

import dataclasses
import functools
import json
import os
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from kseg_run import command, gpu_check, gpu_model
from kseg_run.contract import _parse_json, read_contract
from kseg_run.errors import DeviceLostError, FrameError, InputError
from kseg_run.fit import frame_region
from kseg_run.segmenter import Segmenter

from kseg import contract
from tests.conftest import ROOT

GOLDEN = ROOT / "tests" / "golden"
SWIFTSHADER = Path("/usr/lib/chromium/vk_swiftshader_icd.json")
# What gpu_worker does, with LiteRT's CPU interpreter instead of the GPU, and a fault on demand.
FAKE_WORKER = """
import os, signal, struct, sys, time
import numpy as np
fault, stdin, results = sys.argv[1], sys.stdin.buffer, sys.stdout.buffer
if fault == "never reads":
    signal.pause()
(length,) = struct.unpack("=q", stdin.read(8))
tflite = stdin.read(length)
if fault == "absent":
    sys.exit("No adapters found")
complete = b"false" if fault == "incomplete" else b"true"
results.write(b'{"fully_accelerated": ' + complete + b"}\\n")
results.flush()
from ai_edge_litert.interpreter import Interpreter
cpu = Interpreter(model_content=tflite, num_threads=1)
cpu.allocate_tensors()
image, class_map = cpu.get_input_details()[0], cpu.get_output_details()[0]
size = int(np.prod(image["shape"])) * np.dtype(image["dtype"]).itemsize
number = 0
while len(data := stdin.read(size)) == size:
    if fault == f"crash {number}":
        os.kill(os.getpid(), signal.SIGSEGV)
    if fault == "hang":
        signal.pause()
    cpu.set_tensor(image["index"], np.frombuffer(data, image["dtype"]).reshape(image["shape"]))
    cpu.invoke()
    output = cpu.get_tensor(class_map["index"])
    if fault == "no class":
        output = output * 0 + 3
    wrong = fault == "wrong" or fault.startswith("wrong after") and number >= int(fault[12:])
    results.write((output * 0 + 1 if wrong else output).tobytes())
    results.flush()
    number += 1
"""


def read_rgb(name):
    return cv2.imread(str(GOLDEN / name), cv2.IMREAD_COLOR_RGB)


FRAME = read_rgb("fraction.png")


@pytest.fixture
def open_segmenter(tmp_path):
    """A function (fault, device) -> a Segmenter with such a fake GPU, and the lines it logs."""
    script, opened = tmp_path / "fake_worker.py", []
    script.write_text(FAKE_WORKER)

    def open_it(fault, device, path=GOLDEN / "model.tflite", **options):
        lines = []
        worker = (sys.executable, str(script), fault)
        gpu = functools.partial(gpu_model.GpuModel, worker=worker)
        opened.append(Segmenter(path, 1, device, log=lines.append, open_gpu=gpu, **options))
        return opened[-1], lines

    yield open_it
    for segmenter in opened:
        segmenter.close()


@pytest.fixture(scope="module")
def expected():
    return Segmenter(GOLDEN / "model.tflite", 1)(FRAME)


def test_a_gpu_that_agrees_with_the_cpu_is_used(open_segmenter, expected):
    segmenter, lines = open_segmenter("none", "gpu")
    for _ in range(3):
        assert np.array_equal(segmenter(FRAME), expected)
    assert segmenter.device == "GPU"
    assert len(lines) == 1 and "100.000 %" in lines[0]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("absent", "(No adapters found)"),
        ("incomplete", "complete graph"),
        ("wrong", "(limit 99.5%)"),
        ("no class", "on the GPU the model predicts no class at 9216 pixels"),
        ("crash 0", "(SIGSEGV)"),
        ("crash 2", "(SIGSEGV)"),
        ("never reads", "within 0.2 s"),
        ("hang", "within 0.2 s"),
    ],
)
def test_auto_falls_back_to_the_cpu_and_says_why(
    open_segmenter, expected, monkeypatch, fault, words
):
    limit = {"never reads": "COMPILE_S", "hang": "INFERENCE_S"}.get(fault)
    if limit:
        monkeypatch.setattr(gpu_model, limit, 0.2)
    segmenter, lines = open_segmenter(fault, "auto")
    for _ in range(4):
        assert np.array_equal(segmenter(FRAME), expected)
    assert segmenter.device == "CPU"
    assert lines[-1].startswith("no GPU: ") and words in lines[-1], lines
    assert lines[-1].endswith("; running on the CPU")


def test_device_gpu_uses_the_gpu_or_fails(open_segmenter):
    for fault in ("absent", "incomplete"):
        with pytest.raises(InputError, match="use --device cpu or auto"):
            open_segmenter(fault, "gpu")
    wrong, _ = open_segmenter("wrong", "gpu")
    with pytest.raises(InputError, match=r"limit 99\.5%.*--device cpu"):
        wrong(FRAME)
    crashing, _ = open_segmenter("crash 1", "gpu")
    crashing(FRAME)
    with pytest.raises(DeviceLostError, match="SIGSEGV"):
        crashing(FRAME)


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def run_past_the_turn(segmenter, clock):
    """Segments 5 frames a second for 40 s, and waits for each comparison, as in a slow drive."""
    for _ in range(200):
        segmenter(FRAME)
        clock.now += 0.2
        pending = segmenter.gpu_check._pending
        if pending:
            pending.exception()


@pytest.mark.parametrize("recheck_s", [10, 30])
def test_a_gpu_that_turns_wrong_is_found_at_the_next_check(open_segmenter, expected, recheck_s):
    clock = Clock()
    segmenter, lines = open_segmenter("wrong after 3", "auto", recheck_s=recheck_s, clock=clock)
    run_past_the_turn(segmenter, clock)
    assert segmenter.device == "CPU" and np.array_equal(segmenter(FRAME), expected)
    assert len(lines) == 2 and "100.000 %" in lines[0]
    assert f"(limit 99.5%), {recheck_s} s after it agreed" in lines[1], lines
    agreement = (expected == 1).mean()
    assert segmenter.gpu_check.report()["frames"] == 2
    assert segmenter.gpu_check.report()["agreement"] == pytest.approx(agreement, abs=0.01)


def test_device_gpu_ends_when_the_gpu_turns_wrong(open_segmenter):
    clock = Clock()
    segmenter, _ = open_segmenter("wrong after 3", "gpu", clock=clock)
    with pytest.raises(DeviceLostError, match=r"limit 99\.5%.*30 s after.*--device cpu"):
        run_past_the_turn(segmenter, clock)


def test_recheck_0_compares_only_at_the_start(open_segmenter):
    clock = Clock()
    segmenter, _ = open_segmenter("wrong after 3", "gpu", recheck_s=0, clock=clock)
    run_past_the_turn(segmenter, clock)
    assert segmenter.gpu_check.report()["frames"] == 1 and segmenter.device == "GPU"


def test_a_comparison_that_runs_at_the_end_counts(open_segmenter):
    clock = Clock()
    segmenter, _ = open_segmenter("wrong after 1", "gpu", clock=clock)
    segmenter(FRAME)
    clock.now += 31
    segmenter(FRAME)
    segmenter.close()
    with pytest.raises(DeviceLostError, match="may be wrong"):
        segmenter.finish()


def test_a_black_frame_does_not_count_as_a_check(open_segmenter, expected):
    clock = Clock()
    segmenter, lines = open_segmenter("wrong", "auto", clock=clock)
    black = np.zeros_like(FRAME)
    on_cpu = Segmenter(GOLDEN / "model.tflite", 1)(black)
    for _ in range(3):
        assert np.array_equal(segmenter(black), on_cpu)  # The GPU is not trusted yet.
    assert lines == [] and segmenter.gpu_check.report() is None
    assert "0 frames; 3 frames passed over" in str(segmenter.gpu_check)
    assert np.array_equal(segmenter(FRAME), expected)
    assert segmenter.device == "CPU" and "(limit 99.5%)" in lines[0]


def test_a_recheck_passes_over_frames_without_contrast(open_segmenter):
    clock = Clock()
    segmenter, _ = open_segmenter("none", "gpu", clock=clock)
    segmenter(FRAME)
    clock.now += 31
    grey = np.full_like(FRAME, 90)
    for frame in (grey, grey, FRAME):  # The next one is tried, a second later at the earliest.
        segmenter(frame)
        segmenter.finish()
        clock.now += 1.5
    assert segmenter.gpu_check.report()["frames"] == 2
    assert "2 frames passed over" in str(segmenter.gpu_check)


WHOLE = (slice(0, 10), slice(0, 20))
NOISE = np.random.default_rng(0).integers(0, 256, (10, 20, 3), dtype=np.uint8)


def test_letterbox_bars_do_not_count():
    cpu = np.zeros((10, 20), np.uint8)
    cpu[3:5] = 1
    gpu = cpu.copy()
    gpu[3, :2] = 2
    assert gpu_check.compare(NOISE, gpu, cpu, WHOLE) == 198 / 200
    assert gpu_check.compare(NOISE, gpu, cpu, frame_region((20, 100), (10, 20), "letterbox")) == (
        78 / 80
    )
    assert frame_region((50, 20), (10, 20), "letterbox") == (slice(0, 10), slice(8, 12))
    assert frame_region((20, 100), (10, 20), "crop") == WHOLE
    # Bars give a black frame no contrast.
    bars = np.full((10, 20, 3), 114, np.uint8)
    bars[3:7] = 0
    region = frame_region((20, 100), (10, 20), "letterbox")
    assert gpu_check.has_contrast(bars) and not gpu_check.has_contrast(bars[region])


def test_one_class_shows_nothing_unless_the_gpu_differs():
    cpu = np.zeros((10, 20), np.uint8)
    almost, several = cpu.copy(), cpu.copy()
    almost[0, 0] = 1  # 99.5 %: a GPU that only knows class 0 would agree on as much.
    several[0, :2] = 1
    assert gpu_check.compare(NOISE, cpu, cpu, WHOLE) is None
    assert gpu_check.compare(NOISE, almost, almost, WHOLE) is None
    assert gpu_check.compare(NOISE, several, several, WHOLE) == 1
    assert gpu_check.compare(NOISE, several, cpu, WHOLE) == 0.99
    assert gpu_check.compare(NOISE // 32 + 40, several, cpu, WHOLE) is None


def test_a_run_whose_gpu_turns_wrong_ends_with_exit_code_3(monkeypatch, tmp_path, capsys):
    script, lines = tmp_path / "fake_worker.py", tmp_path / "lines.jsonl"
    script.write_text(FAKE_WORKER)
    worker = (sys.executable, str(script), "wrong after 1")
    gpu = functools.partial(gpu_model.GpuModel, worker=worker)
    monkeypatch.setattr(command, "Segmenter", functools.partial(Segmenter, open_gpu=gpu))
    (tmp_path / "frames").mkdir()
    for i in range(2):
        cv2.imwrite(str(tmp_path / "frames" / f"{i}.png"), cv2.imread(str(GOLDEN / "fraction.png")))
    argv = [GOLDEN / "model.tflite", tmp_path / "frames", "--device", "gpu", "--recheck", "1e-9"]
    argv += ["--threads", "1", "--no-overlays", "--json", lines]
    assert command.main([*map(str, argv)]) == 3
    printed = capsys.readouterr()
    assert "may be wrong; use --device cpu" in printed.err.splitlines()[-1]
    assert "GPU compared with the CPU on " in printed.out.splitlines()[-1]
    first = json.loads(lines.read_text().splitlines()[0])["gpu_check"]
    assert first["frames"] >= 1 and first["agreement"] <= 1 and first["age_s"] >= 0


def test_a_closed_gpu_leaves_no_process_and_no_open_file(open_segmenter):
    before = set(os.listdir("/proc/self/fd"))
    segmenter, _ = open_segmenter("none", "gpu")
    segmenter(FRAME)
    process = segmenter._gpu._process
    segmenter.close()
    assert process.poll() is not None
    assert len(set(os.listdir("/proc/self/fd"))) == len(before)


def test_the_real_accelerator_without_a_device_falls_back(monkeypatch, expected):
    for name in ("VK_DRIVER_FILES", "VK_ICD_FILENAMES"):
        monkeypatch.setenv(name, "/nothing")
    lines = []
    segmenter = Segmenter(GOLDEN / "model.tflite", 1, "auto", log=lines.append)
    assert np.array_equal(segmenter(FRAME), expected) and segmenter.device == "CPU"
    assert len(lines) == 1 and "LiteRT cannot run it on the GPU" in lines[0]


@pytest.mark.slow
def test_the_real_accelerator_agrees_with_the_cpu(monkeypatch, expected):
    if not SWIFTSHADER.exists():
        pytest.skip("no software Vulkan driver that LiteRT accepts (apt-get install chromium)")
    for name in ("VK_DRIVER_FILES", "VK_ICD_FILENAMES"):
        monkeypatch.setenv(name, str(SWIFTSHADER))
    lines = []
    segmenter = Segmenter(GOLDEN / "model.tflite", 1, "gpu", log=lines.append)
    try:
        for _ in range(2):
            assert (segmenter(FRAME) == expected).mean() >= 0.999
        assert segmenter.device == "GPU" and "agrees with the CPU" in lines[0]
    finally:
        segmenter.close()


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_replacing_the_model_file_during_a_run_changes_nothing(
    open_segmenter, expected, tmp_path, device
):
    path = tmp_path / "model.tflite"
    path.write_bytes((GOLDEN / "model.tflite").read_bytes())
    segmenter, _ = open_segmenter("none", device, path)
    assert np.array_equal(segmenter(FRAME), expected)
    path.write_bytes(b"another model")
    assert np.array_equal(segmenter(FRAME), expected)
    os.truncate(path, 0)
    assert np.array_equal(segmenter(FRAME), expected)
    path.unlink()
    assert np.array_equal(segmenter(FRAME), expected)


def test_a_truncated_model_file_is_an_input_error(tmp_path):
    data, path = (GOLDEN / "model.tflite").read_bytes(), tmp_path / "model.tflite"
    for size in (0, 4, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises(InputError, match=r"truncated|not a \.tflite file|corrupt \.tflite"):
            Segmenter(path)


def with_contract(path, **changes):
    original = contract.read(GOLDEN / "model.tflite")
    tflite = (GOLDEN / "model.tflite").read_bytes()
    changed = contract.embed(tflite, dataclasses.replace(original, **changes))
    path.write_bytes(contract.append_checksum(changed))
    return path


def test_contracts_are_read_as_strictly_as_by_the_cpp_runner(tmp_path):
    """Cases that tests/golden/damaged.json does not cover."""
    classes = contract.read(GOLDEN / "model.tflite").labels["classes"]
    nameless = {key: value for key, value in classes[0].items() if key != "name"}
    for labels in ({"classes": []}, [], {"classes": [{**classes[0], "color": [0, 0]}]}):
        with pytest.raises(InputError, match=r"contract \(labels\)"):
            Segmenter(with_contract(tmp_path / "changed.tflite", labels=labels))
    path = with_contract(tmp_path / "nameless.tflite", labels={"classes": [nameless, *classes[1:]]})
    assert Segmenter(path).contract["labels"]["classes"][0]["name"] == ""


def test_a_contracts_json_is_parsed_strictly():
    text = contract.read(GOLDEN / "model.tflite").to_json()
    tflite = (GOLDEN / "model.tflite").read_bytes()

    class RawContract:
        def __init__(self, text):
            self.to_json = lambda: text

    for changed, words in (
        ("[" * 100_000, "nested too deeply"),
        (text.replace('"fit"', '"pad_value": 9, "fit"'), "duplicate key"),
        (text.replace('"pad_value": 0', '"pad_value": NaN'), "NaN"),
        (text[:-1], ""),
        ("[]", "(contract_version)"),
        ("", ""),
        (text.replace("direct", "\\ud800"), "surrogates not allowed"),
        ("\ufeff" + text, "BOM"),
        (" " * 2_000_000, "longer than a contract can be"),
    ):
        with pytest.raises(InputError, match="invalid kseg contract") as error:
            read_contract(contract.embed(tflite, RawContract(changed)), "raw.tflite")
        assert words in str(error.value)
    for encoding in ("utf-16", "utf-16-le", "utf-32-be", "latin-1"):
        encoded = text.replace("direct", "diréct").encode(encoding)
        with pytest.raises(ValueError, match=r"codec can't decode|Expecting|control character"):
            _parse_json(encoded)
    assert read_contract(contract.embed(tflite, RawContract(text)), "x") == json.loads(text)


def test_channels_beyond_the_classes_are_ignored():
    segmenter = Segmenter(GOLDEN / "model.tflite", 1)
    segmenter.contract["output_kind"] = "logits"
    rng = np.random.default_rng(0)
    logits = rng.integers(-3, 4, (5, 7, 4)).astype(np.float32)  # Many are equal.
    logits[..., 3] = 1e9
    assert np.array_equal(segmenter._class_map(logits), logits[..., :3].argmax(axis=-1))


def test_a_frame_on_which_litert_or_opencv_fails_does_not_affect_the_next_one(
    monkeypatch, expected
):
    segmenter = Segmenter(GOLDEN / "model.tflite", 1)

    def invoke():
        raise RuntimeError("Node number 3 (CONV_2D) failed to invoke.\nmore")

    def resize(*args, **kwargs):
        raise cv2.error("OpenCV(5) alloc.cpp:73: error: (-4) Failed to allocate")

    for holder, name, failing, words in (
        (segmenter._cpu._interpreter, "invoke", invoke, r"\(Node .* to invoke\.\)$"),
        (cv2, "resize", resize, "cannot be fitted"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(holder, name, failing)
            with pytest.raises(FrameError, match=words):
                segmenter(FRAME)
        assert np.array_equal(segmenter(FRAME), expected)


def test_frames_too_large_to_fit_in_memory_are_refused():
    segmenter = Segmenter(GOLDEN / "model.tflite", 1)
    segmenter.contract["fit"] = "crop"
    with pytest.raises(FrameError, match=r"\(30000, 1\) is too narrow to crop to \(72, 128\)"):
        segmenter(np.zeros((30000, 1, 3), np.uint8))
    with pytest.raises(FrameError, match=r"\(0, 4\).* 1 to 32768"):
        segmenter(np.zeros((0, 4, 3), np.uint8))
