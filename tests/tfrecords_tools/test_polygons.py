import numpy as np
import pytest

from tests.bdd100k_files import compress, runs_of
from tfrecords_tools.polygons import Polygon, check_polygon, decode_runs, draw_polygons


def square(class_id, left, top, side=4):
    right, bottom = left + side, top + side
    return Polygon(class_id, ((left, top), (right, top), (right, bottom), (left, bottom)), "LLLL")


def test_later_polygons_cover_earlier_ones_as_in_to_mask():
    mask = draw_polygons([square(0, 0, 0), square(1, 2, 0)], (4, 8), 2)
    assert mask.tolist() == [[0, 0, 1, 1, 1, 1, 2, 2]] * 4
    mask = draw_polygons([square(1, 2, 0), square(0, 0, 0)], (4, 8), 2)
    assert mask.tolist() == [[0, 0, 0, 0, 1, 1, 2, 2]] * 4


def test_vertices_are_rounded_to_pixel_corners():
    mask = draw_polygons([square(0, 1.4, 0.4), square(1, 4.6, 0.6)], (5, 10), 2)
    assert mask[0].tolist() == [2, 0, 0, 0, 0, 2, 2, 2, 2, 2]
    assert mask[2].tolist() == [2, 0, 0, 0, 0, 1, 1, 1, 1, 2]
    assert mask[4].tolist() == [2, 2, 2, 2, 2, 1, 1, 1, 1, 2]


@pytest.mark.parametrize("end", ["L", "C"])
def test_curves_are_cubic_beziers(end):
    # From (0, 60) over (0, 0) and (90, 0) to (90, 60): its top is at y = 60 - 3/4 * 60 = 15.
    polygon = Polygon(0, ((0, 60), (0, 0), (90, 0), (90, 60)), "LCC" + end)
    check_polygon(polygon)
    mask = draw_polygons([polygon], (60, 90), 2)
    assert (mask[:15] == 2).all() and (mask[15] == 0).any() and (mask[16:, 45] == 0).all()
    assert mask[45:, 5].tolist() == [0] * 15 and (mask[15:30, 5] == 2).all()


def test_an_outline_may_end_in_the_control_points_of_its_closing_curve():
    # The same curve, closed from its end back to the first vertex.
    closing = Polygon(0, ((90, 60), (0, 60), (0, 0), (90, 0)), "LLCC")
    check_polygon(closing)
    open_curve = Polygon(0, ((0, 60), (0, 0), (90, 0), (90, 60)), "LCCL")
    assert np.array_equal(
        draw_polygons([closing], (60, 90), 2), draw_polygons([open_curve], (60, 90), 2)
    )
    with pytest.raises(ValueError, match="lacks a control point"):
        check_polygon(Polygon(0, ((0, 0), (9, 0), (9, 9), (0, 9)), "LLLC"))


def test_polygons_equal_bdd100ks_own_drawing():
    """BDD100K's tools draw a figure of patches: no pixel differs, with curves and overlaps."""
    rng = np.random.default_rng(0)
    polygons = []
    for number in range(12):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 10))
        middle, radius = rng.uniform(20, [140, 70]), rng.uniform(5, 60, (10, 1))
        vertices = middle + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        types = "LLCCLLLCCL" if number % 2 else "L" * 10
        polygons.append(Polygon(number % 2, tuple(map(tuple, vertices.tolist())), types))
    mask = draw_polygons(polygons, (90, 160), 2)
    assert set(np.unique(mask)) == {0, 1, 2}
    assert np.array_equal(mask, draw_as_figure(polygons, 90, 160))


def draw_as_figure(polygons, height, width):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    figure = Figure((width / 100, height / 100), dpi=100, facecolor="black")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes([0, 0, 1, 1])
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    moves = {"L": Path.LINETO, "C": Path.CURVE4}
    for polygon in polygons:
        codes = [Path.MOVETO, *(moves[t] for t in polygon.types[1:]), Path.LINETO]
        path = Path([*polygon.vertices, polygon.vertices[0]], codes)
        color = ((polygon.class_id + 1) / 255, 0, 0)
        axes.add_patch(
            PathPatch(path, facecolor=color, edgecolor=color, lw=0, antialiased=False, snap=True)
        )
    canvas.draw()
    return np.array([2, 0, 1], np.uint8)[np.asarray(canvas.buffer_rgba())[..., 0]]


def test_run_lengths_go_down_the_columns():
    # 2 zeros, 3 ones, 1 zero over 3 rows and 2 columns.
    expected = [[False, True], [False, True], [True, False]]
    assert decode_runs([2, 3, 1], (3, 2)).tolist() == expected
    assert decode_runs("231", (3, 2)).tolist() == expected


def test_run_length_strings_hold_long_runs_and_differences():
    # By hand: 40 = 8 + 32 * 1 is "X1" (8 + 32 + 48 = 88, 1 + 48 = 49); 5 is "5"; 52 = 20 + 32 * 1
    # is "d1". The fourth, 3, is a difference of -2 to the second: 30 + 48 = 78, "N".
    assert decode_runs("X15d1N", (10, 10)).ravel(order="F").tolist() == (
        [False] * 40 + [True] * 5 + [False] * 52 + [True] * 3
    )


def test_run_length_strings_of_random_masks_decode_to_the_masks():
    rng = np.random.default_rng(0)
    for _ in range(20):
        mask = rng.random((37, 53)) < rng.random()
        assert np.array_equal(decode_runs(compress(runs_of(mask)), mask.shape), mask)


@pytest.mark.parametrize("counts", ["23", "2312", [2, -1, 5], "X", "2 1", []])
def test_impossible_run_lengths_are_refused(counts):
    with pytest.raises(ValueError):
        decode_runs(counts, (3, 2))
