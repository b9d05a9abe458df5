"""deploy/cpp, built here and compared with deploy/python/run.py: fits, class maps and errors."""

import dataclasses
import os
import re
import shutil
import signal
import struct
import subprocess
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest

from kseg import contract
from kseg.runtime import self_test
from tests.conftest import ROOT
from tests.golden_files import (
    CASES,
    EACH_CASE,
    EACH_FORM,
    EACH_REFUSED,
    FORMS,
    GOLDEN,
    assert_class_map,
    read,
    write_corrupt,
    write_form,
)
from tests.onnx_files import finish, tiny_model

SOURCE = ROOT / "deploy" / "cpp"
FITS = ("letterbox", "stretch", "crop")
LITERT = str(Path(find_spec("ai_edge_litert").origin).parent)
SWIFTSHADER = Path("/usr/lib/chromium/vk_swiftshader_icd.json")

if not shutil.which("cmake") or not (shutil.which("c++") or shutil.which("g++")):
    pytest.skip("no cmake and C++ compiler (apt-get install cmake g++)", allow_module_level=True)


PLAIN = ("-DKSEG_OPENCV=OFF", "-DKSEG_TESTS=ON")  # Without OpenCV, as in a car.
BUILT = {}


def build(tmp_path_factory, *options):
    """Builds deploy/cpp with warnings as errors, once for each set of options.

    Returns the folder of the programs.
    """
    if options not in BUILT:
        folder = tmp_path_factory.mktemp("build")
        configure = ["cmake", "-S", str(SOURCE), "-B", str(folder), "-DKSEG_WERROR=ON", *options]
        for step in (configure, ["cmake", "--build", str(folder), "--parallel", "2"]):
            done = subprocess.run(step, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        BUILT[options] = folder
    return BUILT[options]


@pytest.fixture(scope="session")
def plain(tmp_path_factory):
    return build(tmp_path_factory, *PLAIN)


@pytest.fixture(scope="session")
def sanitized(tmp_path_factory):
    """Programs that abort with a report on out-of-bounds access and undefined behaviour."""
    options = ("-DKSEG_SANITIZE=address,undefined", "-DCMAKE_BUILD_TYPE=Debug")
    return build(tmp_path_factory, *PLAIN, *options)


def run(folder, *argv, environment=None):
    variables = {**os.environ, "KSEG_LITERT": LITERT, **(environment or {})}
    return subprocess.run(
        [str(folder / "kseg_run"), *map(str, argv)],
        capture_output=True,
        text=True,
        check=False,
        env=variables,
    )


def error_lines(done):
    return [line for line in done.stderr.splitlines() if line.startswith("error: ")]


def read_rgb(path):
    return cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)


def with_contract(path, tflite=None, **changes):
    """Writes the golden model, or another, with a changed contract."""
    original = contract.read(GOLDEN / "model.tflite")
    tflite = tflite or (GOLDEN / "model.tflite").read_bytes()
    changed = contract.embed(tflite, dataclasses.replace(original, **changes))
    path.write_bytes(contract.append_checksum(changed))
    return path


def golden_class_maps(folder, tmp_path, suffix="ppm"):
    """Runs every golden case. Yields the case and the class map."""
    for fit in FITS:
        names = [c["frame"] for c in CASES if c["fit"] == fit]
        frames, out = tmp_path / f"{fit}-frames", tmp_path / fit
        frames.mkdir()
        for name in names:
            cv2.imwrite(
                str((frames / name).with_suffix(f".{suffix}")), cv2.imread(str(GOLDEN / name))
            )
        model = with_contract(tmp_path / f"{fit}.tflite", fit=fit)
        done = run(folder, model, frames, "--out", out, "--save-masks", "--threads", 1)
        assert done.returncode == 0, done.stderr
        assert f"{len(names)} frames" in done.stdout and "ms" in done.stdout
        for case in CASES:
            if case["fit"] == fit:
                name = Path(case["frame"]).with_suffix(".pgm" if suffix == "ppm" else ".png")
                yield case, cv2.imread(str(out / "masks" / name), cv2.IMREAD_UNCHANGED)


def assert_equal_to_python(folder, runner, tmp_path, suffix="ppm"):
    count = 0
    for case, class_map in golden_class_maps(folder, tmp_path, suffix):
        model = runner.Segmenter(tmp_path / f"{case['fit']}.tflite", 1)
        assert np.array_equal(class_map, model(read(case["frame"]))), case
        count += 1
    assert count == len(CASES)


def test_class_maps_equal_the_python_runners(plain, runner, tmp_path):
    assert_equal_to_python(plain, runner, tmp_path)


@pytest.mark.parametrize("case", EACH_REFUSED)
def test_frames_without_a_class_are_refused(plain, case, tmp_path):
    frame = tmp_path / "frame.ppm"
    cv2.imwrite(str(frame), cv2.imread(str(GOLDEN / case["input"])))
    done = run(plain, GOLDEN / case["model"], frame, "--out", tmp_path / "out", "--threads", 1)
    assert done.returncode == 2 and case["error"] in done.stderr  # 2: no frame could be used.


@pytest.mark.parametrize("form", EACH_FORM)
def test_every_form_gives_the_python_runners_class_map(plain, runner, form, tmp_path):
    """The graph's input cannot be seen from outside; the tensor-*.tflite graphs return it."""
    (tmp_path / "frames").mkdir()
    for case in form["cases"]:
        frame = (tmp_path / "frames" / case["frame"]).with_suffix(".ppm")
        cv2.imwrite(str(frame), cv2.imread(str(GOLDEN / case["frame"])))
    flags = ("--out", tmp_path / "out", "--save-masks", "--no-overlays", "--threads", 1)
    path = write_form(form, tmp_path)
    done = run(plain, path, tmp_path / "frames", *flags)
    assert done.returncode == 0, done.stderr
    model = runner.Segmenter(path, 1)
    for case in form["cases"]:
        mask = (tmp_path / "out" / "masks" / case["frame"]).with_suffix(".pgm")
        class_map = cv2.imread(str(mask), cv2.IMREAD_UNCHANGED)
        assert_class_map(class_map, case, form["tolerance"])
        assert np.array_equal(class_map, model(read(case["frame"])))


@pytest.mark.parametrize("case", EACH_CASE)
def test_fitting_gives_exactly_the_golden_input(plain, case):
    frame, expected = read(case["frame"]), read(case["input"])
    size = expected.shape[:2]
    header = struct.pack("6i", *frame.shape[:2], *size, FITS.index(case["fit"]), 0)
    data = header + frame.tobytes() + bytes(size[0] * size[1])
    done = subprocess.run([str(plain / "fit_frames")], input=data, capture_output=True, check=True)
    assert done.stdout[: expected.size] == expected.tobytes()


def compare_fits(folder, runner, pairs):
    """Fits frames of many sizes, and class maps back; all pixels must equal Python's."""
    rng = np.random.default_rng(0)
    with subprocess.Popen(
        [str(folder / "fit_frames")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as pipe:
        for frame_size, input_size in pairs:
            frame = noise(rng, frame_size, input_size)
            class_map = rng.integers(0, 20, input_size, dtype=np.uint8)
            for number, fit in enumerate(FITS):
                header = struct.pack("6i", *frame_size, *input_size, number, 7)
                pipe.stdin.write(header + frame.tobytes() + class_map.tobytes())
                pipe.stdin.flush()
                for expected in (
                    runner.fit_frame(frame, input_size, fit, 7),
                    runner.unfit_class_map(class_map, frame_size, fit),
                ):
                    got = np.frombuffer(pipe.stdout.read(expected.size), np.uint8)
                    assert np.array_equal(got, expected.ravel()), (frame_size, input_size, fit)


def noise(rng, frame_size, input_size):
    """Noise; for integer factors, noise whose means over the input's pixels all end in .5."""
    factors = np.array(frame_size) / input_size
    if (factors % 1).any() or factors[1] % 2:
        return rng.integers(0, 256, (*frame_size, 3), dtype=np.uint8)
    means = rng.integers(0, 255, (*input_size, 3), dtype=np.uint8)
    frame = means.repeat(factors[0], axis=0).repeat(factors[1], axis=1)
    frame[:, 1::2] += 1
    return frame


def sizes(count):
    """Pairs of sizes: typical ones, integer factors (not 98 by OpenCV's test), and random ones."""
    rng = np.random.default_rng(1)
    pairs = [((720, 1280), (144, 256)), ((540, 960), (288, 512)), ((97, 161), (144, 256))]
    pairs += [((1, 1), (7, 5)), ((64, 97), (64, 97)), ((784, 882), (8, 9)), ((8, 6), (4, 3))]
    pairs += [((60, 80), (10, 20))]
    for _ in range(count):
        pair = rng.integers(8, 160, 4).tolist()
        pairs.append((tuple(pair[:2]), tuple(pair[2:])))
    return pairs


def test_fitting_equals_opencvs_bit_for_bit(plain, runner):
    compare_fits(plain, runner, sizes(150))


def test_corrupt_files_are_refused_with_the_golden_messages(plain, tmp_path):
    frame = tmp_path / "half.ppm"
    cv2.imwrite(str(frame), cv2.imread(str(GOLDEN / "half.png")))
    for path, pattern in write_corrupt(tmp_path):
        done = run(plain, path, frame, "--out", tmp_path / "out")
        (line,) = error_lines(done)
        assert done.returncode == 2 and re.fullmatch(f"error: {pattern}", line)


def test_errors_equal_the_python_runners(plain, runner, capsys, tmp_path):
    model, frame = GOLDEN / "model.tflite", tmp_path / "frame.ppm"
    cv2.imwrite(str(frame), cv2.imread(str(GOLDEN / "half.png")))
    other = tmp_path / "other.tflite"
    other.write_bytes(b"a\ttab\\\xff\n")
    for argv, words in (
        ((tmp_path / "missing.tflite", frame), "cannot be read (No such file or directory)"),
        ((other, frame), r"(its first bytes are b'a\ttab\\\xff\n')"),
        ((model, tmp_path / "nothing.jpg"), "no such file, folder or camera"),
        ((model, frame, "--out", tmp_path), "contains the input"),
        ((model, frame, "--out", frame), "frame.ppm: is a file, not a folder"),
    ):
        out = () if "--out" in argv else ("--out", tmp_path / "out")
        ours = run(plain, *argv, *out)
        assert ours.returncode == runner.main([*map(str, (*argv, *out))]) == 2
        theirs = capsys.readouterr().err.splitlines()
        assert error_lines(ours) == theirs and words in theirs[0]


def test_errors_that_only_this_runner_has(plain, tmp_path):
    model, frame = GOLDEN / "model.tflite", tmp_path / "frame.ppm"
    frame.write_bytes(b"P6\n4000 4000\n255\nshort")
    for argv, words in (
        ((model, frame, "--out", tmp_path / "out"), "cannot be decoded as an image"),
        ((model, frame, "--threads", "0"), "--threads 0: expected at least 1"),
        ((model, frame, "--device", "npu"), "expected cpu, gpu or auto"),
        ((model, frame, "--reconnect", "-1"), "--reconnect -1: expected seconds"),
        ((model, frame, "--out"), "argument --out: expected one argument"),
        ((model,), "expected MODEL and INPUT"),
        ((model, frame, "--fast"), "unrecognized argument"),
        ((model, frame, "--litert", tmp_path), "--litert or KSEG_LITERT"),
    ):
        done = run(plain, *argv)
        assert done.returncode == 2 and words in "".join(error_lines(done)), done.stderr
    other = run(plain, "--doctor", "--litert", "libm.so.6")
    assert other.returncode == 1 and "has no LiteRtCreateEnvironment" in other.stderr


class RawContract:
    """A contract with a given JSON text."""

    def __init__(self, text):
        self.to_json = lambda: text


def test_json_is_parsed_strictly(plain, tmp_path):
    model, path = GOLDEN / "model.tflite", tmp_path / "raw.tflite"
    good, text = model.read_bytes(), contract.read(model).to_json()
    for changed, words in (
        ("[" * 100_000, "nested too deeply"),
        (text.replace('"fit"', '"a": ' + "[" * 17 + "]" * 17 + ', "fit"'), "nested too deeply"),
        (text.replace('"fit"', '"pad_value": 9, "fit"'), "duplicate key"),
        (text.replace('"pad_value": 0', '"pad_value": 00'), "invalid number"),
        (text.replace('"pad_value": 0', '"pad_value": NaN'), "expected a value"),
        (text.replace('"letterbox"', '"letter\nbox"'), "control character"),
        (text.replace('"letterbox"', '"letter\\ud83d"'), "lone surrogate"),
        (text.replace('"fit"', '"a": [' + "0," * 5000 + '0], "fit"'), "too many items"),
        (text + " {}", "text after the document"),
        (text[:-1], "expected ',' or '}'"),
        ("", "expected a value"),
        (" " * 2_000_000, "longer than a contract can be"),
    ):
        path.write_bytes(contract.append_checksum(contract.embed(good, RawContract(changed))))
        done = run(plain, "--doctor", path)
        assert done.returncode == 2 and f"invalid kseg contract ({words}" in done.stderr
    changed = text.replace('"unet"', '"caf\\u00e9 \\ud83d\\ude97"')
    path.write_bytes(contract.append_checksum(contract.embed(good, RawContract(changed))))
    assert "model     café 🚗, fp32" in run(plain, "--doctor", path).stdout


def test_the_example_in_the_readme_runs(plain):
    code = (SOURCE / "example.cc").read_text()
    assert f"```cpp\n{code}```" in (SOURCE / "README.md").read_text()
    done = subprocess.run(
        [str(plain / "example"), str(GOLDEN / "model.tflite")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "KSEG_LITERT": LITERT},
    )
    assert done.returncode == 0, done.stderr
    counts = [line.rsplit(": ", 1) for line in done.stdout.splitlines()]
    assert [name for name, _ in counts[:3]] == ["direct", "alternative", "background"]
    assert sum(int(count) for _, count in counts) == 3 * 720 * 1280


@pytest.fixture(scope="session")
def other_graphs(tmp_path_factory):
    """{name: path}: graphs that kseg.export does not write; they predict the brightest channel."""
    tf = pytest.importorskip("tensorflow")
    folder = tmp_path_factory.mktemp("graphs")

    def logits(image):  # With a channel that is not a class and must not win.
        return tf.concat([image, tf.fill(tf.shape(image[..., :1]), 1e9)], axis=-1)

    def class_map(image):
        return tf.argmax(tf.cast(image, tf.float32), axis=-1, output_type=tf.int32)

    def negative(image):  # On a GPU the zeros that pad to slices of 4 channels win.
        kernel = tf.reshape(tf.eye(3), (1, 1, 3, 3))
        scores = tf.nn.bias_add(
            tf.nn.conv2d(tf.cast(image, tf.float32), kernel, 1, "SAME"), [-300.0] * 3
        )
        return tf.argmax(scores, axis=-1, output_type=tf.int32)

    def dark(image):  # Class 3 where no channel reaches 100: a GPU that turns wrong in the dark.
        scores = tf.pad(
            tf.cast(image, tf.float32), [[0, 0], [0, 0], [0, 0], [0, 1]], constant_values=99.0
        )
        return tf.argmax(scores, axis=-1, output_type=tf.int32)

    classes = [{"id": i, "name": str(i), "color": [i, 0, 0], "drivable": False} for i in range(4)]
    four = {"output_dtype": "int32", "labels": {"name": "four", "classes": classes}}
    kinds = {
        "brightest": (class_map, tf.uint8, four),
        "dark": (dark, tf.uint8, four),
        "logits": (logits, tf.float32, {"output_kind": "logits", "output_dtype": "float32"}),
        "int32": (class_map, tf.uint8, {"output_dtype": "int32"}),
        "negative": (negative, tf.uint8, {"output_dtype": "int32"}),
    }
    paths = {}
    for name, (function, dtype, changes) in kinds.items():
        signature = [tf.TensorSpec((1, 24, 40, 3), dtype, name="image")]
        concrete = tf.function(function, input_signature=signature).get_concrete_function()
        tflite = tf.lite.TFLiteConverter.from_concrete_functions([concrete]).convert()
        paths[name] = with_contract(
            folder / f"{name}.tflite",
            tflite,
            input_size=(24, 40),
            input_dtype=dtype.name,
            **changes,
        )
    return paths


BRIGHT = np.random.default_rng(4).integers(100, 256, (24, 40, 3), dtype=np.uint8)
DARK = BRIGHT // 4  # "dark" and "brightest" differ on it.
BLACK = np.zeros_like(BRIGHT)


def run_checked(folder, other_graphs, frames, *, fall_back=False, recheck_s=1e-6):
    """Runs frames with "dark" as the GPU and "brightest" as the CPU.

    Returns (exit code, lines on stderr without LiteRT's own, stdout).
    """
    models = [other_graphs["dark"], other_graphs["brightest"]]
    sent = b"".join(struct.pack("<2i", *f.shape[:2]) + f.tobytes() for f in frames)
    argv = [folder / "checked_frames", *models, "1" if fall_back else "0", recheck_s]
    done = subprocess.run(
        [str(a) for a in argv],
        input=sent,
        capture_output=True,
        check=False,
        env={**os.environ, "KSEG_LITERT": LITERT},
    )
    lines = [line for line in done.stderr.decode().splitlines() if "GPU" in line]
    return done.returncode, [x for x in lines if not x.startswith(("INFO", "WARN"))], done.stdout


def test_a_gpu_that_turns_wrong_is_found_at_the_next_check(plain, other_graphs):
    turned = [BRIGHT, BRIGHT, DARK, DARK]
    code, (first, error), _ = run_checked(plain, other_graphs, turned)
    assert first == "GPU: agrees with the CPU on 100.000 % of a frame's pixels"
    assert code == 3 and "on only 0.000 % of a frame's pixels (limit 99.5%), " in error
    assert error.endswith("s after it agreed; frames since then may be wrong; use --device cpu")
    code, lines, out = run_checked(plain, other_graphs, turned, fall_back=True)
    assert code == 0 and lines[1].startswith("no GPU: ")
    assert "on 3 frames: 0.000 to 100.000 % of pixels agree" in lines[2]
    class_maps = np.frombuffer(out, np.uint8).reshape(4, 24, 40)
    assert (class_maps[2] == 3).all()  # Shown before it was found.
    assert np.array_equal(class_maps[3], DARK.argmax(-1))
    for recheck_s in (0, 1000):  # Only at the start; not yet.
        code, lines, _ = run_checked(plain, other_graphs, turned, recheck_s=recheck_s)
        assert code == 0 and "on 1 frames" in lines[-1]


def test_a_black_frame_does_not_count_as_a_check(plain, other_graphs):
    code, (line,), out = run_checked(plain, other_graphs, [BLACK, BLACK])
    assert code == 0 and out == bytes(2 * 24 * 40)  # The CPU's class 0, not the GPU's 3.
    assert "on 0 frames; 2 frames passed over" in line
    code, (line,), _ = run_checked(plain, other_graphs, [BLACK, DARK])
    assert code == 2 and "on only 0.000 %" in line and "after it agreed" not in line


def test_letterbox_bars_do_not_count(plain, other_graphs):
    # 24 rows of 240 columns become 4 of the input's 24. Bars are black: there "dark" is wrong.
    wide = BRIGHT.repeat(6, axis=1)
    code, lines, _ = run_checked(plain, other_graphs, [wide, wide])
    assert code == 0 and "100.000 to 100.000 %" in lines[-1], lines


@pytest.mark.parametrize("kind", ["logits", "int32"])
def test_float_inputs_logits_and_int32_class_maps_are_supported(
    plain, other_graphs, kind, tmp_path
):
    frame = np.random.default_rng(3).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "frame.ppm"), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    done = run(
        plain, other_graphs[kind], tmp_path / "frame.ppm", "--out", tmp_path / "o", "--save-masks"
    )
    assert done.returncode == 0, done.stderr
    class_map = cv2.imread(str(tmp_path / "o/masks/frame.pgm"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(class_map, np.argmax(frame, axis=-1))


def test_the_overlay_equals_the_python_runners_except_for_the_legend(plain, runner, tmp_path):
    frame = tmp_path / "fraction.ppm"
    cv2.imwrite(str(frame), cv2.imread(str(GOLDEN / "fraction.png")))
    assert run(plain, GOLDEN / "model.tflite", frame, "--out", tmp_path / "o").returncode == 0
    model = runner.Segmenter(GOLDEN / "model.tflite", 1)
    rgb = read_rgb(frame)
    expected = runner.draw(rgb, model(rgb), model.contract)
    got = read_rgb(tmp_path / "o" / "fraction.ppm")
    assert np.array_equal(got[75:], expected[75:]) and not np.array_equal(got[75:], rgb[75:])


def test_the_doctor_reports_this_machine(plain, tmp_path):
    good = run(plain, "--doctor", GOLDEN / "model.tflite")
    assert good.returncode == 0, good.stderr
    for words in ("LiteRT    2.", "CPU       10 frames, median", "Vulkan", "model     unet, fp32"):
        assert words in good.stdout
    assert run(plain, "--doctor", tmp_path / "missing.tflite").returncode == 2
    assert run(plain, "--doctor", environment={"KSEG_LITERT": str(tmp_path)}).returncode == 1


def test_a_litert_version_that_was_not_checked_is_refused(plain, tmp_path):
    (tmp_path / "ai_edge_litert").mkdir()
    shutil.copy(Path(LITERT) / "libLiteRt.so", tmp_path / "ai_edge_litert")
    environment = {"KSEG_LITERT": str(tmp_path / "ai_edge_litert")}
    assert run(plain, "--doctor", environment=environment).returncode == 0  # "unknown"
    (tmp_path / "ai_edge_litert-2.3.7.dist-info").mkdir()
    assert run(plain, "--doctor", environment=environment).returncode == 0
    (tmp_path / "ai_edge_litert-2.3.7.dist-info").rename(
        tmp_path / "ai_edge_litert-2.30.0.dist-info"
    )
    done = run(plain, "--doctor", environment=environment)
    assert done.returncode == 1 and "LiteRT 2.30.0" in done.stderr


def test_both_doctors_print_the_same_checksum(plain):
    ours = run(plain, "--doctor", GOLDEN / "model.tflite").stdout
    _, theirs = self_test.run_on_cpu((GOLDEN / "model.tflite").read_bytes(), (72, 128))
    assert f" {theirs['answers_crc32']}\n" in ours


def test_corrupt_frames_are_skipped_and_counted(plain, tmp_path):
    frames = tmp_path / "frames"
    frames.mkdir()
    for name in ("a", "c"):
        cv2.imwrite(str(frames / f"{name}.ppm"), cv2.imread(str(GOLDEN / "half.png")))
    (frames / "b.ppm").write_bytes(b"P6\n160 144\n255\nshort")
    done = run(plain, GOLDEN / "model.tflite", frames, "--out", tmp_path / "o")
    assert done.returncode == 0 and done.stdout.startswith("2 frames, ")
    assert "3 frames arrived: 0 dropped before inference, 1 not decoded" in done.stdout
    assert "b.ppm: cannot be decoded" in done.stderr
    assert sorted(p.name for p in (tmp_path / "o").iterdir()) == ["a.ppm", "c.ppm"]


def test_many_corrupt_frames_are_counted_but_not_listed(plain, tmp_path):
    for i in range(13):
        (tmp_path / f"{i}.ppm").write_bytes(b"P6\n160 144\n255\nshort")
    done = run(plain, GOLDEN / "model.tflite", tmp_path, "--no-overlays")
    assert done.returncode == 2 and done.stderr.count("skipped: ") == 11
    assert "counted but not listed" in done.stderr


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_the_run_with_the_summary(plain, tmp_path, name):
    frame = tmp_path / "frame.ppm"
    cv2.imwrite(str(frame), cv2.imread(str(GOLDEN / "half.png")))
    argv = [plain / "kseg_run", GOLDEN / "model.tflite", frame, "--repeat", "1000000000"]
    with subprocess.Popen(
        [str(a) for a in argv],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "KSEG_LITERT": LITERT},
    ) as running:
        assert running.stdout.readline().startswith("pass 1, 1 frames")
        running.send_signal(getattr(signal, name))
        lines = running.stdout.read().splitlines()
    assert running.returncode == 0
    assert " frames, " in lines[-2] and lines[-1] == f"stopped by {name}"


def test_no_overlays_writes_no_overlays(plain, tmp_path):
    frame = tmp_path / "frame.ppm"
    cv2.imwrite(str(frame), cv2.imread(str(GOLDEN / "half.png")))
    argv = (GOLDEN / "model.tflite", frame, "--out", tmp_path / "o", "--no-overlays")
    assert "nothing written" in run(plain, *argv).stdout and not (tmp_path / "o").exists()
    assert run(plain, *argv, "--save-masks").returncode == 0
    assert [p.name for p in (tmp_path / "o").rglob("*.p?m")] == ["frame.pgm"]


def test_a_missing_gpu_is_an_error_and_auto_falls_back_with_a_message(plain, tmp_path):
    no_driver = {"VK_DRIVER_FILES": "/nothing", "VK_ICD_FILENAMES": "/nothing"}
    frame = tmp_path / "frame.ppm"
    cv2.imwrite(str(frame), cv2.imread(str(GOLDEN / "half.png")))
    model, out = GOLDEN / "model.tflite", tmp_path / "out"
    gpu = run(plain, model, frame, "--out", out, "--device", "gpu", environment=no_driver)
    assert gpu.returncode == 2 and "cannot run it on the GPU" in error_lines(gpu)[-1]
    auto = run(plain, model, frame, "--out", out, "--device", "auto", environment=no_driver)
    assert auto.returncode == 0 and "running on the CPU" in auto.stderr
    assert "on the CPU" in auto.stdout
    doctor = run(plain, "--doctor", model, "--device", "gpu", environment=no_driver)
    assert doctor.returncode == 1 and "not usable" in doctor.stdout


def test_a_crashing_gpu_driver_does_not_crash_the_doctor(plain, tmp_path):
    source = tmp_path / "driver.c"
    source.write_text("#include <stdlib.h>\n__attribute__((constructor)) void f(void) {abort();}")
    fake = tmp_path / "libLiteRtWebGpuAccelerator.so"
    compiler = shutil.which("cc") or shutil.which("gcc")
    subprocess.run([compiler, "-shared", "-fPIC", source, "-o", fake], check=True)
    (tmp_path / "libLiteRt.so").symlink_to(Path(LITERT) / "libLiteRt.so")
    done = run(plain, "--doctor", GOLDEN / "model.tflite", "--litert", tmp_path)
    assert done.returncode == 1 and "GPU       crashes: Aborted" in done.stdout, done.stdout
    assert "CPU       10 frames" in done.stdout


@pytest.fixture
def software_gpu(tmp_path):
    """Environment in which LiteRT's GPU accelerator runs on a CPU."""
    if not SWIFTSHADER.exists():
        pytest.skip("no software Vulkan driver that LiteRT accepts (apt-get install chromium)")
    names = ("VK_DRIVER_FILES", "VK_ICD_FILENAMES")
    return {name: str(SWIFTSHADER) for name in names} | {"XDG_RUNTIME_DIR": str(tmp_path)}


@pytest.mark.slow
def test_the_gpu_agrees_with_the_cpu(plain, software_gpu):
    done = run(plain, "--doctor", GOLDEN / "model.tflite", environment=software_gpu)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "100.000 % of pixels" in done.stdout and "GPU WebGPU" in done.stdout


@pytest.mark.slow
def test_a_wrong_gpu_is_detected(plain, other_graphs, software_gpu):
    done = run(plain, "--doctor", other_graphs["negative"], environment=software_gpu)
    assert done.returncode == 1 and "WRONG, use --device cpu" in done.stdout, done.stdout


@pytest.mark.slow
def test_a_gpu_is_compared_with_the_cpu_at_the_start(plain, other_graphs, software_gpu, tmp_path):
    frame, wrong = tmp_path / "frame.ppm", other_graphs["negative"]
    cv2.imwrite(str(frame), cv2.imread(str(GOLDEN / "half.png")))

    def segment_on(model, device, out):
        flags = ("--device", device, "--no-overlays", "--save-masks", "--out", tmp_path / out)
        return run(plain, model, frame, *flags, environment=software_gpu)

    right = segment_on(GOLDEN / "model.tflite", "gpu", "right")
    assert right.returncode == 0 and "on the GPU" in right.stdout
    assert "100.000 % of a frame's pixels" in right.stderr
    assert "GPU compared with the CPU on 1 frames: 100.000 to 100.000 %" in right.stdout
    gpu, auto, cpu = (segment_on(wrong, device, device) for device in ("gpu", "auto", "cpu"))
    (line,) = error_lines(gpu)
    assert gpu.returncode == 2 and line.startswith(f"error: {wrong}: ")
    assert "on the GPU the model predicts no class" in line and line.endswith("use --device cpu")
    assert not list((tmp_path / "gpu").rglob("*.pgm"))
    assert auto.returncode == cpu.returncode == 0 and "on the CPU" in auto.stdout
    assert "no class" in auto.stderr and "running on the CPU" in auto.stderr
    masks = [(tmp_path / name / "masks/frame.pgm").read_bytes() for name in ("auto", "cpu")]
    assert masks[0] == masks[1]


@pytest.mark.slow
def test_sanitizers_find_nothing(sanitized, runner, tmp_path):
    assert_equal_to_python(sanitized, runner, tmp_path)
    compare_fits(sanitized, runner, sizes(40))
    for form in FORMS:
        folder = tmp_path / f"{form['model']}-{form['profile']}"
        folder.mkdir()
        test_every_form_gives_the_python_runners_class_map(sanitized, runner, form, folder)
    fuzz = subprocess.run(
        [str(sanitized / "fuzz_contract"), str(GOLDEN / "model.tflite"), "2000"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert fuzz.returncode == 0 and "0 unnoticed" in fuzz.stdout, fuzz.stdout + fuzz.stderr
    onnx_path, onnx_frame, _ = write_onnx(tmp_path)
    fuzz = subprocess.run(
        [str(sanitized / "fuzz_contract"), str(onnx_path), "2000"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert fuzz.returncode == 0 and "0 unnoticed" in fuzz.stdout, fuzz.stdout + fuzz.stderr
    on_onnx = run(
        sanitized,
        *(onnx_path, onnx_frame, "--repeat", 50, "--onnxruntime", ONNXRUNTIME),
    )
    assert on_onnx.returncode == 0, on_onnx.stderr
    assert run(sanitized, "--doctor", GOLDEN / "model.tflite").returncode == 0
    frame = tmp_path / "letterbox-frames" / "half.ppm"
    leaks = run(sanitized, GOLDEN / "model.tflite", frame, "--repeat", 50)
    assert leaks.returncode == 0, leaks.stderr  # LeakSanitizer exits with another code.
    test_corrupt_frames_are_skipped_and_counted(sanitized, tmp_path)
    test_errors_that_only_this_runner_has(sanitized, tmp_path)
    test_corrupt_files_are_refused_with_the_golden_messages(sanitized, tmp_path)


ONNXRUNTIME = str(Path(find_spec("onnxruntime").origin).parent / "capi")
REAL_ONNXRUNTIME = next(Path(ONNXRUNTIME).glob("libonnxruntime.so*"))
CONTRACT = contract.extract((GOLDEN / "model.tflite").read_bytes())


@pytest.fixture(scope="session")
def tensorrt(tmp_path_factory):
    """The environment of a runner whose ONNX Runtime has TensorRT: fake_onnxruntime.c."""
    folder = tmp_path_factory.mktemp("onnxruntime")
    source, library = ROOT / "tests/deploy/fake_onnxruntime.c", folder / "libonnxruntime.so"
    command = ["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"]
    subprocess.run([str(word) for word in command], check=True)
    return {
        "KSEG_ONNXRUNTIME": str(folder),
        "REAL_ONNXRUNTIME": str(REAL_ONNXRUNTIME),
        "XDG_CACHE_HOME": str(folder / "cache"),
    }


def write_onnx(folder, text=CONTRACT):
    """Writes road.onnx, which computes red modulo 3, and a frame of the input's size."""
    size = contract.read(GOLDEN / "model.tflite").input_size
    (folder / "road.onnx").write_bytes(finish(tiny_model(size), text.encode()))
    frame = np.random.default_rng(5).integers(0, 256, (*size, 3), dtype=np.uint8)
    cv2.imwrite(str(folder / "frame.ppm"), frame[..., ::-1])
    return folder / "road.onnx", folder / "frame.ppm", frame[..., 0] % 3


def test_an_onnx_runs_on_the_cpu(plain, tmp_path):
    path, frame, expected = write_onnx(tmp_path)
    flags = [
        "--no-overlays",
        "--save-masks",
        "--out",
        tmp_path / "out",
        "--json",
        tmp_path / "a.jsonl",
    ]
    done = run(plain, path, frame, *flags, environment={"KSEG_ONNXRUNTIME": ONNXRUNTIME})
    assert done.returncode == 0, done.stderr
    assert re.search(r"ONNX Runtime [\d.]+, CPU", done.stdout)
    assert '"device": "CPU"' in (tmp_path / "a.jsonl").read_text()
    mask = cv2.imread(str(next((tmp_path / "out/masks").iterdir())), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(mask, expected)


def test_tensorrt_is_used_while_it_agrees_with_the_cpu(plain, tensorrt, tmp_path):
    path, frame, _ = write_onnx(tmp_path, CONTRACT.replace('"fp32"', '"fp16"'))
    flags = ["--no-overlays", "--device", "gpu", "--json", tmp_path / "a.jsonl"]
    options = tmp_path / "options"
    environment = {**tensorrt, "FAKE_OPTIONS": str(options)}
    done = run(plain, path, frame, *flags, environment=environment)
    assert done.returncode == 0, done.stderr
    assert "TensorRT" in done.stdout and "100.000 %" in done.stderr
    assert '"device": "TensorRT"' in (tmp_path / "a.jsonl").read_text()
    given = dict(line.split("=") for line in options.read_text().splitlines())
    assert given["trt_fp16_enable"] == given["trt_layer_norm_fp32_fallback"] == "1"
    assert Path(given["trt_engine_cache_path"]).is_dir()


@pytest.mark.parametrize(
    ("fault", "words"),
    [("wrong", "limit 99.5%"), ("no class", "no class"), ("refused", "libnvinfer.so.10")],
)
def test_a_tensorrt_that_is_wrong_or_missing_is_not_used(plain, tensorrt, tmp_path, fault, words):
    path, frame, expected = write_onnx(tmp_path)
    environment = {**tensorrt, "FAKE_FAULT": fault}
    flags = ["--no-overlays", "--save-masks", "--out", tmp_path / "out"]
    done = run(plain, path, frame, *flags, "--device", "auto", environment=environment)
    assert done.returncode == 0 and words in done.stderr and "running on the CPU" in done.stderr
    mask = cv2.imread(str(next((tmp_path / "out/masks").iterdir())), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(mask, expected)
    strict = run(plain, path, frame, "--device", "gpu", environment=environment)
    assert strict.returncode == 2 and words in error_lines(strict)[0]


def test_an_onnx_is_refused_as_a_tflite_is(plain, tmp_path):
    path, frame, _ = write_onnx(tmp_path)
    good = path.read_bytes()
    newer = CONTRACT.replace('"contract_version": 1', '"contract_version": 2')
    flipped = bytearray(good)
    flipped[100] ^= 1
    for data, words in (
        (b"\x08\x08\x72\x7f", "corrupt .onnx file (truncated)"),
        (finish(tiny_model((72, 128)), newer.encode()), "version 2 is newer"),
        (bytes(flipped), "checksum mismatch"),
        (good[:-3], "truncated"),
        (tiny_model((72, 128)), "no kseg contract inside"),
        (finish(tiny_model((80, 128)), CONTRACT.encode()), "does not match its graph"),
    ):
        path.write_bytes(data)
        done = run(plain, path, frame, environment={"KSEG_ONNXRUNTIME": ONNXRUNTIME})
        assert done.returncode == 2, done.stdout
        (line,) = error_lines(done)
        assert words in line and "--onnx" in line, line


def test_without_a_provider_for_gpus_or_a_library_one_line_says_so(plain, tmp_path):
    path, frame, _ = write_onnx(tmp_path)
    gpu = run(plain, path, frame, "--device", "gpu", environment={"KSEG_ONNXRUNTIME": ONNXRUNTIME})
    assert gpu.returncode == 2 and "neither TensorRT nor CUDA" in error_lines(gpu)[0]
    missing = run(plain, path, frame, "--onnxruntime", tmp_path)
    assert missing.returncode == 2 and "KSEG_ONNXRUNTIME" in error_lines(missing)[0]


@pytest.mark.slow
def test_memory_does_not_grow(plain, tmp_path):
    frame = tmp_path / "frame.ppm"
    cv2.imwrite(str(frame), cv2.imread(str(GOLDEN / "fraction.png")))
    done = run(plain, GOLDEN / "model.tflite", frame, "--repeat", 2000, "--threads", 1)
    assert done.returncode == 0, done.stderr
    mib = [float(line.split()[-2]) for line in done.stdout.splitlines() if "pass" in line]
    assert len(mib) == 2000 and mib[-1] - mib[200] < 1, (mib[200], mib[-1])
