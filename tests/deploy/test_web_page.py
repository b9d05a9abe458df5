"""deploy/web: the built page, in headless Chromium with WebGPU on SwiftShader."""

import argparse
import base64
import json
import re
import shutil
import subprocess
import threading
import time

import cv2
import numpy as np
import pytest

from kseg import benchmark, serve
from tests.browser import Browser, find_browser
from tests.conftest import ROOT, command
from tests.deploy.test_android import with_contract
from tests.golden_files import CASES, FORMS, GOLDEN, read, write_form
from tests.odd_images import tagged

WEB = ROOT / "deploy" / "web"
# A software GPU; a camera that shows a test picture and is allowed.
FLAGS = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan"]
FLAGS += ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
DESKTOP, PHONE = (1200, 800), (390, 844)
SECONDS = 120  # A limit for waiting, on a busy machine.
# Keeps what the page saves, and prevents the download.
KEEP_SAVED = """
window.saved = [];
HTMLAnchorElement.prototype.click = () => {};
var address = URL.createObjectURL;
URL.createObjectURL = (blob) => { window.saved.push(blob); return address.call(URL, blob) };
"""
# A driver that computes wrongly: the first rows read back from the GPU are of another class.
WRONG_GPU = """
const range = GPUBuffer.prototype.getMappedRange;
GPUBuffer.prototype.getMappedRange = function (...args) {
  const values = range.apply(this, args);
  const size = values.byteLength / 4;
  if (this.usage & GPUBufferUsage.MAP_READ) new Uint8Array(values).fill(1, 0, size);
  return values;
};
"""


def golden_models(folder):
    """Writes the golden files under names of their own. Returns [(path, case, is_float), ...]."""
    rows = []
    for case in CASES:
        path = with_contract(folder / f"fp32-{case['fit']}.tflite", fit=case["fit"])
        rows.append((path, case, True))
    for form in FORMS:
        written = write_form(form, folder)
        name = f"{form['model'].removesuffix('.tflite')}-{form['profile']}.tflite"
        path = written.rename(folder / name)
        is_float = form["model"].startswith("model") and form["precision"] == "fp16"
        rows += [(path, case, is_float) for case in form["cases"]]
    return rows


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The folder of the built page."""
    if not shutil.which("npm"):
        pytest.skip("no npm (apt-get install nodejs npm)")
    out = tmp_path_factory.mktemp("web")
    source = out / "deploy" / "web"  # Not in the checkout, so that a test leaves nothing behind.
    shutil.copytree(WEB, source, ignore=shutil.ignore_patterns("node_modules", "dist"))
    lanes = "kseg/published/lanes/lanes.tflite"
    (out / lanes).parent.mkdir(parents=True)
    shutil.copy(ROOT / lanes, out / lanes)
    done = subprocess.run(
        ["npm", "ci", "--silent"], cwd=source, capture_output=True, text=True, check=False
    )
    if done.returncode and re.search("ENOTFOUND|ETIMEDOUT|ECONN|EAI_AGAIN", done.stderr):
        pytest.skip("the npm registry is out of reach")
    assert done.returncode == 0, done.stderr
    done = subprocess.run(
        ["npm", "run", "build"], cwd=source, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return source / "dist"


class Site:
    """The page, served on a free port, and a browser that is on it."""

    def __init__(self, page, models, profile):
        argv = argparse.Namespace(
            models=models, host="127.0.0.1", port=0, certificate=None, key=None, page=page
        )
        self.server = serve.make_server(argv)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/"
        self.browser = Browser(profile, FLAGS, self.url)

    def close(self):
        self.browser.close()
        self.server.shutdown()
        self.server.server_close()

    def open(self, size=DESKTOP, **features):
        self.browser.open(self.url, size, **features)
        self.browser.value(KEEP_SAVED)
        self.wait("model.innerText.includes(' · ')")  # A model of the page, or the last one.

    def wait(self, condition):
        """Waits until a JavaScript expression is true; fails if the page reports a problem."""
        end = time.monotonic() + SECONDS
        while not self.browser.value(f"Boolean({condition})"):
            assert time.monotonic() < end, (condition, self.text("body"), self.browser.problems)
            time.sleep(0.05)

    def text(self, selector):
        return self.browser.value(f"document.querySelector('{selector}').innerText")

    def load(self, name, device="cpu"):
        """Loads one of the served models, on a device."""
        self.browser.value(
            f"document.querySelector('[name=device][value={device}]').checked = true"
        )
        self.browser.value(
            "models.value = [...models.options].find(option => "
            f"option.text === '{name}').value; models.onchange()"
        )
        where = "GPU" if device == "gpu" else "CPU"
        self.wait(f"model.innerText.startsWith('{name} ·') && model.innerText.includes('{where}')")

    def pick(self, path, selector="#media-file"):
        """Picks a file."""
        response = self.browser.call(
            "Runtime.evaluate", expression=f"document.querySelector('{selector}')"
        )
        self.browser.call(
            "DOM.setFileInputFiles", files=[str(path)], objectId=response["result"]["objectId"]
        )

    def class_map(self, frame, name, device="cpu"):
        """Segments a golden frame, or any file, with the loaded model. Returns the saved mask."""
        path = GOLDEN / frame
        self.browser.value("delete view.dataset.shown")
        self.pick(path)
        shown = f"{name} {path.stem} 0 on the {device}"
        self.wait(f"view.dataset.shown === '{shown}'")
        return self.save("mask")

    def save(self, kind):
        """Presses a button to save. Returns an image, or the text of JSON lines."""
        self.browser.value(f"saved.length = 0; document.querySelector('#save-{kind}').click()")
        self.wait("saved.length")
        data = base64.b64decode(
            self.browser.value(
                "saved[0].arrayBuffer().then(b => btoa(Array.from("
                "new Uint8Array(b), v => String.fromCharCode(v)).join('')))"
            )
        )
        if kind == "lines":
            return data.decode()
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


@pytest.fixture(scope="module")
def site(page, tmp_path_factory):
    find_browser()
    folder = tmp_path_factory.mktemp("golden")
    rows = golden_models(folder)
    models = list(dict.fromkeys(str(path) for path, _, _ in rows))
    site = Site(page, models, tmp_path_factory.mktemp("profile"))
    site.rows = rows
    yield site
    site.close()


def differing(site, device):
    """{(model, frame): pixels that differ from the golden class map}."""
    site.open()
    pixels, loaded = {}, None
    for path, case, is_float in site.rows:
        if device == "gpu" and not is_float:
            continue
        if path.name != loaded:
            site.load(path.name, device)
            loaded = path.name
        class_map = site.class_map(case["frame"], path.name, device)
        expected = read(case["class_map"])
        assert class_map.shape == expected.shape
        pixels[path.name, case["frame"]] = int((class_map != expected).sum())
    assert site.browser.problems == []
    return pixels


def test_golden_class_maps_on_the_cpu(site):
    pixels = differing(site, "cpu")
    assert len(pixels) == len(site.rows) and not any(pixels.values()), pixels


def test_golden_class_maps_of_float_files_on_the_gpu(site):
    pixels = differing(site, "gpu")
    assert len(pixels) >= 8 and not any(pixels.values()), pixels


def test_a_gpu_that_computes_wrongly_is_refused(site, page, tmp_path_factory):
    """The fault is added to the worker that runs LiteRT.js, as a driver's would be."""
    folder = tmp_path_factory.mktemp("wrong")
    shutil.copytree(page, folder / "page")
    (worker,) = (folder / "page" / "assets").glob("graph.worker*.js")
    worker.write_text(WRONG_GPU + worker.read_text())
    path, case, _ = site.rows[0]
    wrong = Site(folder / "page", [str(path)], folder / "profile")
    try:
        wrong.open()
        wrong.load(path.name, "gpu")
        class_map = wrong.class_map(case["frame"], path.name, "cpu")
        assert np.array_equal(class_map, read(case["class_map"]))
        assert re.fullmatch(
            r"no GPU: .*: the GPU agrees with the CPU on only .*; running on the CPU",
            wrong.text("#message"),
        )
    finally:
        wrong.close()


def test_the_camera_gives_frames_and_json_lines_on_a_phone(site):
    site.open(PHONE, prefers_color_scheme="dark")
    site.load(site.rows[0][0].name)
    site.browser.value("document.querySelector('#rows').value = '0.6 0.8'")
    site.browser.value("document.querySelector('#camera').click()")
    site.wait("/ camera ([3-9]|\\d\\d)/.test(view.dataset.shown)")
    records = [json.loads(line) for line in site.save("lines").splitlines()]
    keys = ["frame", "name", "time_s", "latency_ms", "age_ms", "dropped", "gpu_check"]
    assert list(records[0]) == [*keys, "drivable_share", "rows"]
    assert [row["row"] for row in records[0]["rows"]] == [0.6, 0.8]
    numbers = [record["frame"] for record in records]
    assert numbers == sorted(set(numbers))
    assert site.browser.value("document.documentElement.scrollWidth <= innerWidth")
    site.browser.value("document.querySelector('#camera').click()")
    assert site.browser.problems == []


def test_a_video_file_is_segmented(site, tmp_path):
    video = tmp_path / "drive.webm"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"VP80"), 10, (160, 96))
    rng = np.random.default_rng(0)
    for _ in range(20):
        writer.write(rng.integers(0, 256, (96, 160, 3), dtype=np.uint8))
    writer.release()
    site.open()
    site.load(site.rows[0][0].name)
    site.pick(video)
    site.wait("/ drive [1-9]/.test(view.dataset.shown)")
    assert json.loads(site.save("lines").splitlines()[0])["time_s"] is not None
    assert site.save("mask").shape == (96, 160) and site.browser.problems == []


@pytest.mark.parametrize("orientation", [3, 6])
def test_images_are_turned_upright_as_by_the_python_runner(site, tmp_path, runner, orientation):
    path, _, _ = site.rows[0]
    upside = cv2.cvtColor(cv2.imread(str(GOLDEN / "half.png")), cv2.COLOR_BGR2RGB)
    frame = tmp_path / f"turned{orientation}.png"
    frame.write_bytes(tagged(upside, orientation, "PNG"))
    site.open()
    site.load(path.name)
    class_map = site.class_map(frame, path.name)
    turned = np.rot90(upside, {3: 2, 6: 3}[orientation]).copy()
    assert np.array_equal(class_map, runner.Segmenter(str(path))(turned))


def test_bad_files_are_one_line_and_the_model_stays(site, tmp_path):
    name = site.rows[0][0].name
    damaged, text = tmp_path / "damaged.tflite", tmp_path / "text.png"
    damaged.write_bytes((GOLDEN / "model.tflite").read_bytes()[:-1])
    text.write_text("no image")
    site.open()
    site.load(name)
    site.pick(damaged, "#model-file")
    site.wait("message.innerText.startsWith('damaged.tflite: truncated')")
    assert site.text("#model").startswith(name)
    site.pick(text)
    site.wait("message.innerText.includes('text.png: cannot be decoded')")
    site.class_map("half.png", name)


def test_every_control_is_reached_by_keyboard_and_has_a_name(site):
    site.open()
    site.load(site.rows[0][0].name)
    site.class_map("half.png", site.rows[0][0].name)
    reached = set()
    for _ in range(30):
        site.browser.press("Tab")
        reached.add(site.browser.value("document.activeElement.id || document.activeElement.title"))
    controls = {"model-file", "media-file", "camera", "models", "opacity", "side", "patterns"}
    assert controls | {"rows", "save-picture", "save-mask", "save-lines"} <= reached
    assert "Show or hide direct" in reached
    unnamed = (
        "[...document.querySelectorAll('button, input, select')].filter(e => "
        "!(e.innerText || e.ariaLabel || e.labels?.[0]?.innerText)).map(e => e.outerHTML)"
    )
    assert site.browser.value(unnamed) == []


def test_benchmark_times_models_in_the_browser(page, tmp_path, capsys):
    report = tmp_path / "report.json"
    flags = ["--page", page, "--runs", 3, "--json", report]
    assert command(benchmark.main, [*flags, "--browser", GOLDEN / "model.tflite"]) == 0
    native, wasm, webgpu = json.loads(report.read_text())["models"]
    assert "WASM" in wasm["runtime"] and "WebGPU" in webgpu["runtime"]
    for row in (native, wasm, webgpu):
        assert row["model"]["runs"] == row["whole_frame"]["runs"] == 3
        assert row["model"]["min_ms"] > 0 and row["whole_frame"]["min_ms"] > 0
    assert wasm["agreement"] == 1 and webgpu["agreement"] > 0.999
    assert "browser-gpu:" in capsys.readouterr().out


def test_the_page_and_the_last_model_work_without_a_network(page, tmp_path):
    shutil.copy(GOLDEN / "model.tflite", tmp_path / "last.tflite")
    site = Site(page, ["lanes"], tmp_path / "profile")
    try:
        site.open()
        site.wait("model.innerText.startsWith('lanes')")
        site.pick(tmp_path / "last.tflite", "#model-file")
        site.wait("model.innerText.startsWith('last.tflite ·')")
        site.browser.value("navigator.serviceWorker.ready.then(() => true)")
        site.wait("navigator.serviceWorker.controller")
        site.server.shutdown()
        site.server.server_close()
        site.open()
        site.wait("model.innerText.includes(' · ')")
        site.class_map("half.png", site.text("#model").split(" · ")[0])
    finally:
        site.close()
