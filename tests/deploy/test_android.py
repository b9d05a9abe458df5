"""deploy/android: the core, compared with deploy/python/run.py, and the app, type-checked."""

import dataclasses
import re
import shutil
import struct
import subprocess
import sys
import zipfile
from xml.etree import ElementTree

import numpy as np
import pytest

from kseg import contract
from tests.conftest import ROOT
from tests.golden_files import (
    DOCUMENT,
    EACH_CASE,
    EACH_FORM,
    EACH_REFUSED,
    GOLDEN,
    MODEL,
    assert_class_map,
    read,
    tensor,
    write_corrupt,
    write_form,
)

ANDROID = ROOT / "deploy" / "android"
FITS = ("letterbox", "stretch", "crop")

if not shutil.which("javac"):
    pytest.skip("no Java compiler (apt-get install default-jdk-headless)", allow_module_level=True)


def compile_java(out, *folders, classes=()):
    """Compiles every .java below `folders` with all warnings as errors. Returns `out`."""
    sources = [str(p) for folder in folders for p in sorted(folder.rglob("*.java"))]
    path = ["-cp", ":".join(map(str, classes))] if classes else []
    command = ["javac", "-Xlint:all", "-Werror", "--release", "11", "-d", str(out), *path]
    done = subprocess.run([*command, *sources], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return out


@pytest.fixture(scope="session")
def core(tmp_path_factory):
    """The core's classes, and the programs in src/check."""
    source = ANDROID / "core" / "src"
    return compile_java(tmp_path_factory.mktemp("core"), source / "main", source / "check")


def java(core, program, *argv):
    return ["java", "-XX:+UseSerialGC", "-cp", str(core), f"kseg.core.{program}", *map(str, argv)]


class CoreProgram:
    """A running program of src/check, driven over stdin and stdout."""

    def __init__(self, core, program, *argv):
        self.process = subprocess.Popen(
            java(core, program, *argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.stdin.close()
        stderr = self.process.stderr.read().decode()
        assert self.process.wait() == 0, stderr
        self.process.stdout.close()
        self.process.stderr.close()

    def send(self, numbers, *arrays):
        """Writes int32 numbers and arrays."""
        self.process.stdin.write(struct.pack(f"<{len(numbers)}i", *numbers))
        for array in arrays:
            self.process.stdin.write(np.ascontiguousarray(array).tobytes())
        self.process.stdin.flush()

    def read(self, shape, dtype=np.uint8):
        bytes_ = self.process.stdout.read(int(np.prod(shape)) * np.dtype(dtype).itemsize)
        return np.frombuffer(bytes_, dtype).reshape(shape)


def with_contract(path, tflite=None, **changes):
    """Writes the golden model, or another, with a changed contract."""
    tflite = tflite or MODEL.read_bytes()
    changed = contract.embed(tflite, dataclasses.replace(contract.read(MODEL), **changes))
    path.write_bytes(contract.append_checksum(changed))
    return path


def fit_there_and_back(program, frame, class_map, fit, pad_value):
    input_size = class_map.shape
    numbers = (*frame.shape[:2], *input_size, FITS.index(fit), pad_value)
    program.send(numbers, frame, class_map)
    return program.read((*input_size, 3)), program.read(frame.shape[:2])


@pytest.mark.parametrize("case", EACH_CASE)
def test_fitting_gives_exactly_the_golden_input(core, case):
    frame, expected = read(case["frame"]), read(case["input"])
    golden = contract.read(MODEL)
    with CoreProgram(core, "FitFrames") as program:
        empty = np.zeros(golden.input_size, np.uint8)
        fitted, _ = fit_there_and_back(program, frame, empty, case["fit"], golden.pad_value)
    assert np.array_equal(fitted, expected)


def sizes(count):
    """Pairs of sizes: typical ones, integer factors (not 98 by OpenCV's test), and random ones."""
    rng = np.random.default_rng(2)
    pairs = [((720, 1280), (144, 256)), ((540, 960), (288, 512)), ((97, 161), (144, 256))]
    pairs += [((1, 1), (7, 5)), ((64, 97), (64, 97)), ((784, 882), (8, 9)), ((8, 6), (4, 3))]
    pairs += [((60, 80), (10, 20)), ((1280, 720), (144, 256))]
    for _ in range(count):
        pair = rng.integers(8, 160, 4).tolist()
        pairs.append((tuple(pair[:2]), tuple(pair[2:])))
    return pairs


def noise(rng, frame_size, input_size):
    """Noise; for integer factors, noise whose means over the input's pixels all end in .5."""
    factors = np.array(frame_size) / input_size
    if (factors % 1).any() or factors[1] % 2:
        return rng.integers(0, 256, (*frame_size, 3), dtype=np.uint8)
    means = rng.integers(0, 255, (*input_size, 3), dtype=np.uint8)
    frame = means.repeat(int(factors[0]), axis=0).repeat(int(factors[1]), axis=1)
    frame[:, 1::2] += 1
    return frame


def test_fitting_equals_opencvs_bit_for_bit(core, runner):
    rng = np.random.default_rng(0)
    with CoreProgram(core, "FitFrames") as program:
        for frame_size, input_size in sizes(150):
            frame = noise(rng, frame_size, input_size)
            class_map = rng.integers(0, 20, input_size, dtype=np.uint8)
            for fit in FITS:
                fitted, ids = fit_there_and_back(program, frame, class_map, fit, 7)
                where = (frame_size, input_size, fit)
                assert np.array_equal(fitted, runner.fit_frame(frame, input_size, fit, 7)), where
                assert np.array_equal(ids, runner.unfit_class_map(class_map, frame_size, fit)), (
                    where
                )


def segment(program, frame, run_graph, input_shape, input_dtype):
    """Segments a frame, with `run_graph` as the runtime. Returns class map and colours (ARGB)."""
    program.send(frame.shape[:2], frame)
    program.send((), run_graph(program.read(input_shape, input_dtype)))
    return program.read(frame.shape[:2]), program.read(frame.shape[:2], np.uint32)


class LiteRtGraph:
    """A golden graph in LiteRT; `last_input` is the tensor of the last call."""

    def __init__(self, path):
        from ai_edge_litert.interpreter import Interpreter

        self.interpreter = Interpreter(model_path=str(path), num_threads=1)
        self.interpreter.allocate_tensors()

    def __call__(self, image):
        self.last_input = image
        self.interpreter.set_tensor(self.interpreter.get_input_details()[0]["index"], image)
        self.interpreter.invoke()
        return self.interpreter.get_tensor(self.interpreter.get_output_details()[0]["index"])


@pytest.mark.parametrize("case", EACH_CASE)
def test_class_maps_equal_the_python_runners(core, runner, case, tmp_path):
    path = with_contract(tmp_path / "model.tflite", fit=case["fit"])
    frame = read(case["frame"])
    height, width = contract.read(path).input_size
    with CoreProgram(core, "SegmentFrames", path) as program:
        class_map, colors = segment(
            program, frame, LiteRtGraph(path), (1, height, width, 3), np.uint8
        )
    assert np.array_equal(class_map, runner.Segmenter(path, 1)(frame))
    assert_class_map(class_map, case, DOCUMENT["tolerance"])
    assert np.array_equal(colors, expected_colors(class_map))


@pytest.mark.parametrize("form", EACH_FORM)
def test_every_form_gets_its_tensor_and_gives_the_python_runners_class_map(
    core, runner, form, tmp_path
):
    path = write_form(form, tmp_path)
    graph, model = LiteRtGraph(path), runner.Segmenter(path, 1)
    with CoreProgram(core, "SegmentFrames", path) as program:
        for case in form["cases"]:
            frame, expected = read(case["frame"]), tensor(form, case)
            class_map, _ = segment(program, frame, graph, expected.shape, expected.dtype)
            assert np.array_equal(graph.last_input, expected)
            assert np.array_equal(class_map, model(frame))
            assert_class_map(class_map, case, form["tolerance"])


@pytest.mark.parametrize("case", EACH_REFUSED)
def test_frames_without_a_class_are_refused(core, case):
    path, frame = GOLDEN / case["model"], read(case["input"])
    output = LiteRtGraph(path)(frame[None].astype(contract.read(path).input_dtype))
    sent = struct.pack("<2i", *frame.shape[:2]) + frame.tobytes() + output.tobytes()
    done = subprocess.run(java(core, "SegmentFrames", path), input=sent, capture_output=True)
    assert done.returncode == 1 and done.stderr.decode() == f"error: {case['error']}\n"


def expected_colors(class_map):
    """Half opaque; transparent where the class is black or was not seen."""
    table = np.zeros(256, np.uint32)
    for label in contract.read(MODEL).labels["classes"]:
        red, green, blue = label["color"]
        if any(label["color"]):
            table[label["id"]] = 0x80000000 | red << 16 | green << 8 | blue
    return table[class_map]


def graph(input_type, output_shape, output_type):
    """A .tflite with input (1, 24, 40, 3) and no operators: the test acts as the runtime."""
    from ai_edge_litert import schema_py_generated as schema

    ends = []
    for shape, dtype in (((1, 24, 40, 3), input_type), (output_shape, output_type)):
        tensor = schema.TensorT()
        tensor.shape, tensor.type = list(shape), getattr(schema.TensorType, dtype.upper())
        ends.append(tensor)
    only = schema.SubGraphT()
    only.tensors, only.inputs, only.outputs = ends, [0], [1]
    model = schema.ModelT()
    model.version, model.subgraphs, model.buffers = 3, [only], [schema.BufferT()]
    return contract.pack(model, 1024)


def test_logits_with_channels_beyond_the_classes_are_supported(core, tmp_path):
    rng = np.random.default_rng(3)
    tflite = graph("float32", (1, 24, 40, 4), "float32")
    path = with_contract(
        tmp_path / "logits.tflite",
        tflite,
        input_size=(24, 40),
        input_dtype="float32",
        output_kind="logits",
        output_dtype="float32",
    )
    frame = rng.integers(0, 256, (24, 40, 3), dtype=np.uint8)
    logits = rng.integers(-3, 3, (1, 24, 40, 4)).astype(np.float32)  # With many ties.
    logits[..., 3] = 1e9  # Not a class: must not win.

    def run_graph(image):
        assert np.array_equal(image[0], frame.astype(np.float32))
        return logits

    with CoreProgram(core, "SegmentFrames", path) as program:
        class_map, _ = segment(program, frame, run_graph, (1, 24, 40, 3), np.float32)
    assert np.array_equal(class_map, logits[0, ..., :3].argmax(axis=-1))


def test_int32_class_maps_are_supported(core, tmp_path):
    rng = np.random.default_rng(4)
    tflite = graph("uint8", (1, 24, 40), "int32")
    path = with_contract(
        tmp_path / "int32.tflite", tflite, input_size=(24, 40), output_dtype="int32"
    )
    frame = rng.integers(0, 256, (24, 40, 3), dtype=np.uint8)
    ids = rng.integers(0, 3, (1, 24, 40), dtype=np.int32)
    with CoreProgram(core, "SegmentFrames", path) as program:
        class_map, _ = segment(program, frame, lambda image: ids, (1, 24, 40, 3), np.uint8)
    assert np.array_equal(class_map, ids[0])


def verdicts(core, paths):
    """The core's line for each file."""
    listing = "".join(f"{path}\n" for path in paths)
    done = subprocess.run(
        java(core, "ReadModels"), input=listing, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(paths)
    return lines


def test_corrupt_files_are_refused_with_the_golden_messages(core, tmp_path):
    paths, patterns = zip(*write_corrupt(tmp_path), strict=True)
    for pattern, line in zip(patterns, verdicts(core, paths), strict=True):
        assert re.fullmatch(f"error: {pattern}", line)


def test_errors_equal_the_python_runners(core, runner, capsys, tmp_path):
    other, missing = tmp_path / "other.tflite", tmp_path / "missing.tflite"
    other.write_bytes(b"a\ttab\\\xff\n")
    expected = ("cannot be read (No such file or directory)", r"b'a\ttab\\\xff\n'")
    paths = (missing, other)
    for path, words, line in zip(paths, expected, verdicts(core, paths), strict=True):
        assert runner.main([str(path), str(GOLDEN / "half.png")]) == 2
        assert [line] == capsys.readouterr().err.splitlines() and words in line


def test_an_int8_tensor_is_refused(core, tmp_path):
    other = with_contract(
        tmp_path / "int8.tflite", graph("int8", (1, 24, 40), "uint8"), input_size=(24, 40)
    )
    assert "its graph was not written by kseg.export" in verdicts(core, [other])[0]


class RawContract:
    """A contract with a given JSON text."""

    def __init__(self, text):
        self.to_json = lambda: text


def test_json_is_parsed_strictly(core, tmp_path):
    good, text = MODEL.read_bytes(), contract.read(MODEL).to_json()
    changes = [
        ("[" * 100_000, "nested too deeply"),
        (text.replace('"fit"', '"a": ' + "[" * 17 + "]" * 17 + ', "fit"'), "nested too deeply"),
        (text.replace('"fit"', '"pad_value": 9, "fit"'), "duplicate key"),
        (text.replace('"pad_value": 0', '"pad_value": 00'), "invalid number"),
        (text.replace('"pad_value": 0', '"pad_value": 1e999'), "number out of range"),
        (text.replace('"pad_value": 0', '"pad_value": NaN'), "expected a value"),
        (text.replace('"letterbox"', '"letter\nbox"'), "control character"),
        (text.replace('"letterbox"', '"letter\\ud83d"'), "lone surrogate"),
        (text.replace('"fit"', '"a": [' + "0," * 5000 + '0], "fit"'), "too many items"),
        (text + " {}", "text after the document"),
        (text[:-1], "expected ',' or '}'"),
        ("", "expected a value"),
        (" " * 2_000_000, "longer than a contract can be"),
    ]
    paths = [tmp_path / f"{i}.tflite" for i in range(len(changes))]
    for path, (changed, _) in zip(paths, changes, strict=True):
        path.write_bytes(contract.append_checksum(contract.embed(good, RawContract(changed))))
    for line, (_, words) in zip(verdicts(core, paths), changes, strict=True):
        assert f"invalid kseg contract ({words}" in line
    path = tmp_path / "cafe.tflite"
    changed = text.replace('"unet"', '"caf\\u00e9 \\ud83d\\ude97 é"')
    path.write_bytes(contract.append_checksum(contract.embed(good, RawContract(changed))))
    assert verdicts(core, [path]) == ["good: café 🚗 é, (72, 128)"]


def test_camera_frames_are_cropped_and_rotated_upright(core):
    rng = np.random.default_rng(5)
    with CoreProgram(core, "UprightFrames") as program:
        for height, width, padding, window in (
            (7, 5, 0, (0, 0, 7, 5)),
            (7, 5, 12, (0, 0, 7, 5)),
            (9, 12, 4, (2, 3, 5, 8)),
            (9, 12, 0, (8, 11, 1, 1)),
        ):
            rgba = rng.integers(0, 256, (height, width, 4), dtype=np.uint8)
            rows = np.zeros((height, 4 * width + padding), np.uint8)
            rows[:, : 4 * width] = rgba.reshape(height, -1)
            # The last row is not padded, as on Android.
            data = rows.ravel()[: rows.size - padding]
            top, left, h, w = window
            cut = rgba[top : top + h, left : left + w, :3]
            for quarter in range(4):
                program.send((data.size, 4 * width + padding, 4, *window, 90 * quarter), data)
                upright = np.rot90(cut, -quarter)  # Clockwise.
                assert np.array_equal(program.read(upright.shape), upright)


def test_a_window_outside_the_camera_frame_is_refused(core):
    data = np.zeros(4 * 6 * 5, np.uint8)
    for window, degrees in (((0, 0, 6, 6), 0), ((-1, 0, 2, 2), 90), ((0, 0, 6, 5), 45)):
        program = CoreProgram(core, "UprightFrames")
        program.send((data.size, 20, 4, *window, degrees), data)
        with pytest.raises(AssertionError, match="InputException: a camera frame with window"):
            program.__exit__()


def test_the_cores_self_test_passes(core):
    """The median latency, and the comparison of GPU and CPU on the first frame."""
    done = subprocess.run(
        java(core, "SelfTest", MODEL), capture_output=True, text=True, check=False
    )
    assert done.stdout == "all passed\n", done.stderr


@pytest.mark.slow
def test_no_corruption_goes_unnoticed_and_each_is_one_line(core):
    command = java(core, "FuzzModel", MODEL, 2000)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "2000 rounds, 0 unnoticed\n" and done.returncode == 0, done.stderr


APP = ANDROID / "app" / "src" / "main"
NAME = "{http://schemas.android.com/apk/res/android}name"
REQUIRED = "{http://schemas.android.com/apk/res/android}required"
CONFIG_CHANGES = "{http://schemas.android.com/apk/res/android}configChanges"


def write_signatures(folder):
    """Splits signatures.txt into .java files."""
    for block in ("\n" + (ANDROID / "signatures.txt").read_text()).split("\n=== ")[1:]:
        name, text = block.split("\n", 1)
        package, simple = name.rsplit(".", 1)
        path = folder / package.replace(".", "/") / f"{simple}.java"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"package {package};\n{text}")


def write_resource_class(folder):
    """Writes R.java as Android's build does: the names in layouts and values."""
    names = {"layout": [], "id": [], "string": []}
    for path in sorted((APP / "res" / "layout").glob("*.xml")):
        names["layout"].append(path.stem)
        ids = (e.get(NAME.replace("name", "id")) for e in ElementTree.parse(path).iter())
        names["id"] += [i.removeprefix("@+id/") for i in ids if i]
    for element in ElementTree.parse(APP / "res" / "values" / "strings.xml").iter("string"):
        names["string"].append(element.get("name"))
    kinds = (
        f"public static final class {kind} {{"
        + "".join(f"public static final int {n} = {i};" for i, n in enumerate(of_kind))
        + "}"
        for kind, of_kind in names.items()
    )
    (folder / "kseg" / "app").mkdir(parents=True)
    (folder / "kseg" / "app" / "R.java").write_text(
        "package kseg.app; public final class R {" + "".join(kinds) + "}"
    )


def test_the_app_compiles_against_the_signatures(core, tmp_path):
    write_signatures(tmp_path / "signatures")
    write_resource_class(tmp_path / "resources")
    stubs = [str(p) for p in (tmp_path / "signatures").rglob("*.java")]
    command = ["javac", "-nowarn", "--release", "11", "-d", str(tmp_path / "stubs"), *stubs]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    sources = APP / "java", tmp_path / "resources"
    compile_java(tmp_path / "app", *sources, classes=(core, tmp_path / "stubs"))


def test_the_app_uses_every_view_of_the_layout_with_its_type(tmp_path):
    layout = ElementTree.parse(APP / "res" / "layout" / "main.xml")
    types = {}
    for element in layout.iter():
        identity = element.get(NAME.replace("name", "id"))
        if identity:
            types[identity.removeprefix("@+id/")] = element.tag.rsplit(".", 1)[-1]
    code = (APP / "java" / "kseg" / "app" / "MainActivity.java").read_text()
    uses = re.findall(r"(\w+) = findViewById\(R\.id\.(\w+)\);", code)
    assert sorted(name for _, name in uses) == sorted(types)
    for variable, name in uses:
        declared = re.search(rf"(\w+) (?:\w+, )*{variable}(?:, \w+)*(?: =|;)", code)
        assert declared.group(1) == types[name], name
    strings = (APP / "res" / "values" / "strings.xml").read_text()
    for path in [*APP.rglob("*.java"), *APP.rglob("*.xml")]:
        for name in re.findall(r"(?:R\.string\.|@string/)(\w+)", path.read_text()):
            assert f'<string name="{name}">' in strings


def test_the_manifest_lists_the_gpus_libraries(tmp_path):
    manifest = ElementTree.parse(APP / "AndroidManifest.xml")
    libraries = {e.get(NAME): e.get(REQUIRED) for e in manifest.iter("uses-native-library")}
    assert libraries["libOpenCL.so"] == "false" and set(libraries.values()) == {"false"}
    assert "android.permission.CAMERA" in {e.get(NAME) for e in manifest.iter("uses-permission")}
    activity = manifest.find("application/activity")
    assert (APP / "java" / "kseg" / "app" / f"{activity.get(NAME)[1:]}.java").is_file()
    assert {"orientation", "screenSize"} <= set(activity.get(CONFIG_CHANGES).split("|"))


def test_the_app_targets_an_api_that_stores_accept_and_pads_its_controls():
    build = (ANDROID / "app" / "build.gradle.kts").read_text()
    target, compiled = (
        int(re.search(rf"{name}Sdk = (\d+)", build)[1]) for name in ("target", "compile")
    )
    assert 35 <= target <= compiled
    code = (APP / "java" / "kseg" / "app" / "MainActivity.java").read_text()
    # Since API 35 a window reaches below the system's bars.
    assert "EdgeToEdge.enable(this)" in code and "setOnApplyWindowInsetsListener(controls" in code


@pytest.mark.parametrize("page", [4096, 16384])
def test_libraries_for_16_kib_pages_are_distinguished_from_others(tmp_path, page):
    library, script = tmp_path / "libx.so", ANDROID / "page_size.py"
    flags = ["-shared", "-nostdlib", f"-Wl,-z,max-page-size={page}", "-o", library]
    subprocess.run(["cc", *map(str, flags), "-xc", "/dev/null"], check=True)

    def check(path):
        command = [sys.executable, str(script), str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "Traceback" not in done.stderr
        return done.returncode

    assert check(library) == (page < 16384)
    for name, offset in (("app.aar", 5), ("moved.apk", 5), ("app.apk", 0)):
        path = tmp_path / name
        with zipfile.ZipFile(path, "w") as archive:
            entry = zipfile.ZipInfo("lib/arm64-v8a/libx.so")
            entry.extra = bytes((offset - 30 - len(entry.filename)) % 16384)
            archive.writestr(entry, library.read_bytes())
        assert check(path) == (page < 16384 or name == "moved.apk")
    (tmp_path / "text.so").write_text("no library")
    assert check(tmp_path / "text.so") == check(tmp_path / "absent.so") == 2


def test_the_core_imports_nothing_from_android():
    for path in (ANDROID / "core").rglob("*.java"):
        for package in re.findall(r"^import (?:static )?([\w.]+);", path.read_text(), re.M):
            assert package.startswith("java."), f"{path.name} imports {package}"
