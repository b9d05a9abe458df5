import base64
import json
from typing import NamedTuple

import cv2
import numpy as np
import pytest

from kseg.export import export_page, frame_figures
from kseg.labels import BDD100K_DRIVABLE, IGNORE_ID
from tests.browser import Page

SIZE = (20, 30)
SCORES = {
    "mean_iou": 0.8,
    "pixel_accuracy": 0.9,
    "drivable_iou": 0.85,
    "iou/direct": 0.8,
    "iou/alternative": None,
    "iou/background": 0.9,
}


def report(file="model-fp32.tflite", **changes):
    """The keys that every report of kseg.export has."""
    return {
        "file": file,
        "passed": True,
        "bytes": 1_234_567,
        "agreement_limit": 0.999,
        "problems": [],
        "operators": {"CONV_2D": 44},
        "frames": 12,
        "pixel_agreement": 0.9999999,
        "keras": SCORES,
        "tflite": SCORES | {"mean_iou": 0.79},
        "latency_ms": 5.25,
        **changes,
    }


def compared(file="model-fp32.tflite", key="a&b", size=SIZE):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    truth = np.full(size, 2, np.uint8)
    truth[:2] = IGNORE_ID
    keras = np.zeros(size, np.uint8)
    tflite = keras.copy()
    tflite[3, 4] = 1
    return frame_figures.ComparedFrame(file, key, image, truth, keras, tflite)


def html(reports, frames=(), embedded=None):
    return export_page.page(list(reports), list(frames), BDD100K_DRIVABLE, embedded or {})


def words(text):
    return " ".join(Page(text).text.split())


def test_optional_keys_of_a_report_may_be_missing():
    text = words(html([report()]))
    assert "all files passed" in text and "79.00% -1.00 points" in text
    assert "5.2 ms" in text and "1.23 MB" in text and "not run" in text
    assert "CONV_2D 44" in text and "alternative - -" in text


def test_agreement_is_100_only_when_every_pixel_agrees():
    assert ">99.999%" in words(html([report()]))
    assert "100.000%" in words(html([report(pixel_agreement=1.0)]))


def test_everything_in_a_complete_report_is_shown():
    complete = report(
        "model-gpu-fp16.tflite",
        profile="gpu",
        precision="fp16",
        passed=False,
        problems=["2 x CAST <left on the CPU>"],
        notes=["ran on a GPU: SwiftShader"],
        lint={"operators": 90, "delegated": 88, "left_on_cpu": 2, "problems": ["CAST"]},
        gpu={
            "verified": True,
            "pixel_agreement": 0.9995,
            "frames": 4,
            "gpu": {"mean_iou": 0.7},
            "cpu": {"mean_iou": 0.75},
        },
    )
    page = html([report(), complete], embedded={"model-gpu-fp16.tflite": '{"model": "unet"}'})
    text = words(page)
    assert "Export of unet: 1 of 2 files REJECTED" in text
    assert "gpu fp16: 2 x CAST <left on the CPU>" in text and "<left" not in page
    assert "ran on a GPU: SwiftShader" in text and "99.950% as the CPU, 4 frames" in text
    assert "on the GPU, 4 frames 70.00% -5.00 points" in text
    assert "on the CPU, the same 75.00%" in text
    assert "88 on the GPU, 2 left on the CPU" in text and '"model": "unet"' in text


def test_the_page_is_self_contained_and_has_no_script():
    text = html([report()], [compared()])
    tags = Page(text).tags
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in tags}
    assert "http" not in text.replace("http-equiv", "") and "url(" not in text
    sources = [attributes["src"] for tag, attributes in tags if tag == "img"]
    assert len(sources) == 3 + 5 and all(source.startswith("data:image/") for source in sources)
    assert all("alt" in attributes for tag, attributes in tags if tag == "img")


def test_a_single_differing_pixel_is_visible_in_a_shrunk_image():
    size = (400, 1200)  # Shown at 480 columns: one pixel is less than half of one.
    text = html([report()], [compared(size=size)])
    assert "1 of 477,600 pixels differ" in text  # Two rows are ignored.
    assert "a&amp;b" in text
    last = [a["src"] for tag, a in Page(text).tags if tag == "img"][-1]
    drawn = cv2.imdecode(np.frombuffer(base64.b64decode(last.split(",")[1]), np.uint8), 1)
    assert drawn.shape == (160, 480, 3)
    light = cv2.cvtColor(drawn, cv2.COLOR_BGR2GRAY) > 150
    # Row 3 and column 4 of 400x1200 lie in pixel (1, 1) or on its edge; marks are 3x3.
    assert 9 <= light.sum() <= 16 and np.abs(np.argwhere(light) - [1, 1]).max() <= 2


class Frame(NamedTuple):
    key: str
    image: np.ndarray
    mask: np.ndarray


class Model:
    def predict_on_batch(self, batch):
        """Predicts class 1 where the first channel is light."""
        return np.stack([128 - batch[..., 0], batch[..., 0] - 128], axis=-1)


def test_the_worst_frames_of_each_file_are_run_again():
    images = {key: np.full((*SIZE, 3), value, np.uint8) for key, value in (("a", 200), ("b", 9))}
    frames = [Frame(key, image, np.zeros(SIZE, np.uint8)) for key, image in images.items()]
    files = {
        "one": lambda image: np.zeros(SIZE, np.uint8),
        "two": lambda image: np.ones(SIZE, np.uint8),
    }
    reports = [
        {"file": "one", "worst_frames": [{"key": "a", "agreement": 0}]},
        {
            "file": "two",
            "worst_frames": [{"key": "b", "agreement": 0.1}, {"key": "a", "agreement": 1}],
        },
    ]
    one, two = frame_figures.worst_frames(Model(), files, frames, reports)
    assert (one.file, one.key, two.file, two.key) == ("one", "a", "two", "b")
    assert (one.keras == 1).all() and (one.tflite == 0).all()
    assert (two.keras == 0).all() and (two.tflite == 1).all()
    assert frame_figures.worst_frames(Model(), files, None, [{"file": "one"}]) == []


def test_the_page_has_the_contract_of_the_file_beside_it(tmp_path, tflite_path):
    (tmp_path / "model-fp32.tflite").write_bytes(tflite_path.read_bytes())
    path = tmp_path / "export_report.html"
    export_page.write(path, [report(), report("gone.tflite")], [], BDD100K_DRIVABLE)
    text = words(path.read_text())
    assert "Contract in model-fp32.tflite" in text and "Contract in gone" not in text
    assert "deeplab_v3_plus_mobilenet_v2" in text
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name, "model-fp32.tflite"]


def test_export_writes_the_page(tflite_path):
    text = words((tflite_path.parent / "export_report.html").read_text())
    # Of the latest export of the run that all tests share.
    reports = [json.loads(p.read_text()) for p in tflite_path.parent.glob("*.report.json")]
    assert any(f"{report['bytes'] / 1e6:.2f} MB" in text for report in reports)


@pytest.mark.parametrize("value", [0.8, None])
def test_classes_without_a_score_have_a_dash(value):
    text = words(html([report(keras=SCORES | {"iou/direct": value})]))
    assert ("direct 80.00%" in text) == (value is not None)
