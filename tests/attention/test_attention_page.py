"""kseg.attention: its numbers are those of the model, and its page works in a browser."""

import base64
import dataclasses
import json
import re

import cv2
import numpy as np
import pytest

from kseg import run_folder, trained_model
from kseg.attention import __main__ as attention
from kseg.attention import attention_page, figures, stage_attention
from kseg.config import Config
from kseg.labels import BDD100K_DRIVABLE, LabelClass, LabelSet
from kseg.visualize import video
from tests.browser import Browser, Page
from tests.conftest import assert_one_line, command, randomize

SIZE = (97, 161)
POINT = (70.0, 40.0)
NAMES = LabelSet(
    "odd",
    (
        LabelClass("</script><b>lane</b>", (9, 9, 9), drivable=True),
        *BDD100K_DRIVABLE.classes[1:],
    ),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of a SegFormer of random weights."""
    folder = tmp_path_factory.mktemp("runs") / "segformer"
    folder.mkdir()
    config = Config(data="nowhere", size=SIZE, model="segformer_b0", decoder_channels=8)
    (folder / "config.json").write_text(config.to_json())
    (folder / "labels.json").write_text(json.dumps(NAMES.to_dict()))
    model = trained_model.build_model(config, NAMES)
    randomize(model, seed=0)
    model.save_weights(folder / run_folder.BEST)
    return folder


@pytest.fixture(scope="module")
def image():
    noise = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 3)


@pytest.fixture(scope="module")
def stages(run, image):
    return stage_attention.extract_stage_attention(trained_model.load(run)[0], image)


@pytest.fixture(scope="module")
def written(run, image, tmp_path_factory):
    """The folder that the command wrote for the image."""
    folder = tmp_path_factory.mktemp("written")
    cv2.imwrite(str(folder / "street.png"), image[..., ::-1])
    argv = [run, folder / "street.png", "--point", POINT[1], POINT[0], "--out", folder / "out"]
    assert command(attention.main, argv) == 0
    return folder / "out"


def document(path):
    text = path.read_text()
    return json.loads(re.search(r'type="application/json">(.*?)</script>', text, re.S)[1])


def test_stages_have_the_geometry_of_their_patches(stages):
    geometry = [
        (s.kernel, s.stride, s.padding, s.cell_pixels, s.query_pixels, s.reduction) for s in stages
    ]
    assert geometry == [
        (7, 4, 3, 1, 4, (8, 8)),
        (3, 2, 1, 4, 8, (4, 4)),
        (3, 2, 1, 8, 16, (2, 2)),
        (3, 2, 1, 16, 32, (1, 1)),
    ]
    assert [s.block for s in stages] == [2] * 4


def test_a_point_picks_the_query_whose_cell_it_lies_in(stages):
    first, *_, last = stages  # 25x41 queries of 4 pixels; 4x6 of 32.
    assert stage_attention.query_cell(first, (0, 0)) == (0, 0)
    assert stage_attention.query_cell(first, (7.9, 8)) == (1, 2)
    assert stage_attention.query_index(first, (7.9, 8)) == 1 * 41 + 2
    assert stage_attention.query_cell(last, (96.9, 160.9)) == (3, 5)
    assert stage_attention.query_cell(first, (500, 500)) == (24, 40)
    expected = first.weights[:, 43].reshape(1, 3, 5)
    assert np.array_equal(stage_attention.point_attention(first, (7.9, 8)), expected)


def test_attention_weights_sum_to_one(stages):
    for stage in stages:
        for grids in (
            stage_attention.point_attention(stage, POINT),
            stage_attention.mean_attention(stage),
        ):
            assert np.allclose(grids.sum((1, 2)), 1, atol=1e-5)
            assert grids.shape[1:] == stage.key_grid
            name, mean = figures.head_panels(grids)[0]
            assert np.allclose(mean, grids.mean(0)) and (len(grids) == 1) == (name == "head 1")


def test_keys_cover_their_pixels(stages):
    first = stages[0]  # 3x5 keys of 32 pixels reach to row 95; row 96 and column 160 have none.
    grid = np.arange(15.0).reshape(3, 5)
    values = stage_attention.upsample_keys(grid, first, SIZE, fill=-1)
    assert values.shape == SIZE and values[0, 0] == 0 and values[31, 32] == 1
    assert values[95, 159] == 14 and values[96, 0] == -1 == values[0, 160]
    assert [np.sum(values == n) for n in range(15)] == [32 * 32] * 15


def test_heat_is_lightest_at_the_peak(stages):
    grid = np.full((3, 5), 0.1, np.float32)
    grid[1, 2] = 0.5
    drawn = figures.heat_map(np.full((*SIZE, 3), 100, np.uint8), stages[0], grid).mean(-1)
    assert drawn[48, 80] == drawn.max() > drawn[0, 0] > drawn[96, 0]


def test_packed_weights_are_restored(stages):
    points = attention_page.grid_points(SIZE, (3, 4))
    for stage in stages:
        packed = attention_page.pack_weights(stage, points)
        heads, keys = len(stage.weights), stage.weights.shape[-1]
        assert packed.shape == (heads * 13, keys) and (packed.max(1) == 255).all()
        rows = packed.reshape(heads, 13, keys) / packed.sum(1).reshape(heads, 13, 1)
        for number, point in enumerate(points):
            true = stage_attention.point_attention(stage, point).reshape(heads, keys)
            assert np.abs(rows[:, number] - true).max() < true.max() / 100
        mean = stage_attention.mean_attention(stage).reshape(heads, keys)
        assert np.abs(rows[:, -1] - mean).max() < mean.max() / 100


def test_query_points_cover_the_image_evenly():
    assert attention_page.point_grid((240, 320)) == (17, 23) and attention_page.point_grid(
        (32, 4000)
    ) == (1, 400)
    for size in ((97, 161), (512, 1024), (1024, 32)):
        rows, columns = grid = attention_page.point_grid(size)
        assert rows * columns <= attention_page.POINTS
        for number, point in enumerate(attention_page.grid_points(size, grid)):
            assert attention_page.nearest_point(point, size, grid) == [
                number // columns,
                number % columns,
            ]


def test_the_command_writes_a_page_and_images(written, stages):
    names = ["attention-mean.png", "attention.html", "attention.png", "patches.png"]
    assert sorted(p.name for p in written.iterdir()) == [f"street.{name}" for name in names]
    for path in written.glob("*.png"):
        figure = cv2.imread(str(path))
        assert figure.shape[1] > 1200 and figure.std() > 20
    data = document(written / "street.attention.html")
    assert data["at"] == attention_page.nearest_point(POINT, SIZE, data["points"])
    packed = base64.b64decode(data["stages"][2]["weights"].split(",")[1])
    packed = cv2.imdecode(np.frombuffer(packed, np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(
        packed,
        attention_page.pack_weights(stages[2], attention_page.grid_points(SIZE, data["points"])),
    )


def test_the_page_is_self_contained_and_escapes_class_names(written):
    text = (written / "street.attention.html").read_text()
    read = Page(text)
    assert not {"link", "iframe", "object", "b"} & {tag for tag, _ in read.tags}
    assert text.count("</script>") == 2 and "http" not in text and "url(" not in text
    assert document(written / "street.attention.html")["names"][0] == NAMES.names[0]


def test_a_video_is_drawn_at_one_query_point(run, image, tmp_path):
    with video.Mp4Writer(tmp_path / "drive.mp4", 10) as movie:
        for number in range(5):
            movie.add(np.roll(image[:96, :160], number, 1))
    argv = [run, tmp_path / "drive.mp4", "--video", "--start", 0.1, "--seconds", 0.2]
    assert command(attention.main, [*argv, "--out", tmp_path]) == 0
    clip = cv2.VideoCapture(str(tmp_path / "drive.attention.mp4"))
    assert clip.get(cv2.CAP_PROP_FRAME_COUNT) == 2 and clip.get(cv2.CAP_PROP_FPS) == 10
    argv = [run, tmp_path / "drive.mp4", "--frame", 2, "--block", 1, "--out", tmp_path / "one"]
    assert command(attention.main, [*argv, "--size", 64, 96]) == 0
    assert document(tmp_path / "one" / "drive.attention.html")["size"] == [64, 96]


def test_a_point_of_the_frame_is_mapped_into_the_letterbox():
    config = dataclasses.replace(Config(), size=(100, 200), fit="letterbox")
    # A frame of 400x400 becomes 100x100, 50 pixels from the left.
    assert attention.model_point((200, 100), (400, 400), config) == (50, 75)


def test_bad_input_gets_one_line(run, trained_run, image, tmp_path, capsys):
    street, drive = tmp_path / "street.png", tmp_path / "drive.mp4"
    cv2.imwrite(str(street), image)
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    with video.Mp4Writer(drive, 10) as movie:
        movie.add(image[:96, :160])
    for argv, words in (
        ([trained_run, street], ("deeplab_v3_plus", "no attention", "SegFormer")),
        ([run, street, "--point", 161, 5], ("--point 161 5", "161 wide")),
        ([run, street, "--block", 3], ("--block 3", "blocks 1 to 2")),
        ([run, street, "--video"], ("--video", "is an image")),
        ([run, street, "--size", 8, 8], ("--size 8 8",)),
        ([run, drive, "--frame", 7], ("1 frames", "--frame 7")),
        (
            [run, drive, "--video", "--frame", 0],
            (
                "--frame",
                "--video",
            ),
        ),
        ([run, drive, "--seconds", 2], ("--seconds", "--video")),
        ([run, tmp_path / "none.jpg"], ("none.jpg", "no such file")),
        ([run, tmp_path / "broken.jpg"], ("broken.jpg", "no image")),
        ([tmp_path, street], ("no config.json",)),
    ):
        assert command(attention.main, [*argv, "--out", tmp_path / "out"]) == 2
        assert_one_line(capsys, *words)
        assert not list((tmp_path / "out").rglob("*.*"))


# In a browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("browser"))
    yield browser
    browser.close()


PEAKS = "[...document.querySelectorAll('figcaption span')].map((s) => s.textContent)"
STATUS = "document.getElementById('status').textContent"
READY = """new Promise((done) => {
  const wait = () => document.body.dataset.ready ? done(true) : setTimeout(wait, 20);
  wait();
})"""


def open_page(browser, path, size=(1200, 900), **features):
    browser.open((path / "street.attention.html").as_uri(), size, **features)
    assert browser.value(READY) and browser.problems == []


def peaks(stages, point=None):
    """The peaks in the captions, computed in Python."""
    values = []
    for stage in stages:
        grids = (
            stage_attention.mean_attention(stage)
            if point is None
            else stage_attention.point_attention(stage, point)
        )
        values += [float(grid.max()) for _, grid in figures.head_panels(grids)]
    return values


def shown(browser):
    return [float(text.rstrip("%")) / 100 for text in browser.value(PEAKS)]


@pytest.mark.parametrize("size", [(1200, 900), (360, 640)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_desktop_and_phone(browser, written, size, scheme):
    open_page(browser, written, size, prefers_color_scheme=scheme)
    assert browser.value("document.documentElement.scrollWidth") <= size[0]
    assert browser.value("document.querySelectorAll('canvas[data-stage]').length") == 1 + 3 + 6 + 9


def test_a_click_shows_the_heads_of_the_nearest_point(browser, written, stages):
    open_page(browser, written)
    grid = attention_page.point_grid(SIZE)
    points = attention_page.grid_points(SIZE, grid)
    start = attention_page.nearest_point(POINT, SIZE, grid)
    first = points[start[0] * grid[1] + start[1]]
    assert shown(browser) == pytest.approx(peaks(stages, first), abs=0.006, rel=0.02)
    # A click a fifth from the left, near the bottom.
    box = browser.value(
        "(({x, y, width, height}) => [x, y, width, height])"
        "(document.getElementById('query').getBoundingClientRect())"
    )
    x, y = box[0] + 0.2 * box[2], box[1] + 0.9 * box[3]
    for kind in ("mousePressed", "mouseReleased"):
        browser.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
    row, column = attention_page.nearest_point((0.9 * SIZE[0], 0.2 * SIZE[1]), SIZE, grid)
    point = points[row * grid[1] + column]
    assert f"x {round(point[1])}, y {round(point[0])}" in browser.value(STATUS)
    assert shown(browser) == pytest.approx(peaks(stages, point), abs=0.006, rel=0.02)


def test_arrow_keys_move_the_point_and_the_checkbox_selects_the_mean(browser, written, stages):
    open_page(browser, written)
    browser.press("Tab")
    assert browser.value("document.activeElement.id") == "query"
    rows, columns = attention_page.point_grid(SIZE)
    points = np.array(attention_page.grid_points(SIZE, (rows, columns))).reshape(rows, columns, 2)
    row, column = attention_page.nearest_point(POINT, SIZE, (rows, columns))
    for key, code, move in (
        ("ArrowUp", 38, (-1, 0)),
        ("ArrowRight", 39, (0, 1)),
        ("ArrowRight", 39, (0, 1)),
        ("ArrowDown", 40, (1, 0)),
        ("ArrowLeft", 37, (0, -1)),
    ):
        browser.press(key, code)
        row, column = row + move[0], column + move[1]
        status = browser.value(STATUS)
        # JavaScript rounds halves up.
        y, x = np.floor(points[row, column] + 0.5)
        assert f"x {x:.0f}, y {y:.0f}" in status
    assert shown(browser) == pytest.approx(peaks(stages, points[row, column]), abs=0.006, rel=0.02)
    browser.press("Tab")
    assert browser.value("document.activeElement.id") == "mean"
    browser.value("document.activeElement.click()")
    assert "mean over all queries" in browser.value(STATUS)
    assert shown(browser) == pytest.approx(peaks(stages), abs=0.006, rel=0.02)
