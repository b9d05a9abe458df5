"""Figures of attention: every stage and head over the image, and the overlapping patches."""

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from kseg.attention.stage_attention import (
    Point,
    Stage,
    mean_attention,
    point_attention,
    query_cell,
    upsample_keys,
)

OPACITY = 0.7  # Of the colours over the grey image.
MARK = "#00e5ff"
_WINDOWS = ("#ffd400", MARK, "#ff5ca8")
_PANEL, _TITLE, _GAP, _DPI = 1.75, 0.46, 0.08, 120  # Inches: a panel's width, text above, between.
_GREY = "0.35"


def draw_heads(
    image: np.ndarray, stages: list[Stage], point: Point | None = None, name: str = "image"
) -> np.ndarray:
    """Every head's attention, (H, W, 3) uint8 RGB: a row per stage, with its mean and its heads.

    image (h, w, 3) uint8 RGB of the model's size, `name` its caption; point (y, x) in it, or None
    for the mean over all queries. Each panel has its own scale, from 0 to the peak in its title.
    """
    sheet = _Sheet(image, rows=len(stages), columns=1 + max(len(s.weights) for s in stages))
    for row, stage in enumerate(stages):
        grids = mean_attention(stage) if point is None else point_attention(stage, point)
        for column, (title, grid) in enumerate(head_panels(grids)):
            axes = sheet.axes(row, column)
            axes.imshow(heat_map(image, stage, grid), interpolation="nearest")
            _draw_keys(axes, stage, image.shape)
            if point is not None:
                _draw_query(axes, stage, point)
            peak = grid.max()
            text = f"{title}, peak {peak:.{0 if peak >= 0.1 else 1}%}"
            axes.set_title(text, fontsize=8.5, pad=2, loc="left", color=_GREY)
        sheet.title(row, f"{stage.title}: {stage.summary}")
    # Stages one and two have few heads: the image is drawn in the space beside them.
    column = min(1 + max(len(head_panels(s.weights)) for s in stages[:2]), sheet.columns - 1)
    axes = sheet.axes(0, column, down=min(2, len(stages)), across=sheet.columns - column)
    _draw_image(axes, image, point, name)
    return sheet.rendered()


def head_panels(grids: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """The panels of a stage, [(name, grid)]: its heads, preceded by their mean if several."""
    heads = [(f"head {number}", grid) for number, grid in enumerate(grids, 1)]
    return [("mean", grids.mean(0)), *heads] if len(heads) > 1 else heads


def heat_map(image: np.ndarray, stage: Stage, grid: np.ndarray) -> np.ndarray:
    """Colours keys' weights (*key_grid) over the grey image, (H, W, 3) uint8 RGB.

    The largest weight of `grid` is lightest. Nothing is interpolated, so that the coarse keys stay
    visible. Pixels that belong to no key are dark grey.
    """
    size = image.shape[:2]
    level = upsample_keys(grid / max(float(grid.max()), 1e-12), stage, size, fill=-1)
    gray = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    colors = inferno_colors()[np.rint(255 * np.clip(level, 0, 1)).astype(int)]
    blended = cv2.addWeighted(gray, 1 - OPACITY, colors, OPACITY, 0)
    return np.where((level < 0)[..., None], gray // 3, blended)


def inferno_colors() -> np.ndarray:
    """(256, 3) uint8 RGB: a colour map that is readable by lightness alone."""
    levels = np.arange(256, dtype=np.uint8)[None]
    return cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)[0, :, ::-1]


def draw_patches(image: np.ndarray, stages: list[Stage], point: Point) -> np.ndarray:
    """How each stage cuts its input into overlapping patches, (H, W, 3) uint8 RGB.

    Above, the image and the strides of the patches. Below, to scale, the piece outlined above, at
    the left edge and the height of point (y, x): three neighbouring windows, the cells of the
    previous stage that they cover (pixels for the first stage), and the padding, hatched.
    """
    sheet = _Sheet(image, rows=2, columns=len(stages), panel=3.2)
    for column, stage in enumerate(stages):
        rows, columns = stage.query_grid
        row = min(query_cell(stage, point)[0], max(rows - 2, 0))
        (x, y), (wide, high) = _draw_windows(sheet.axes(1, column), image, stage, row)
        unit = "pixels" if stage.cell_pixels == 1 else "cells"
        sheet.axes(1, column).set_title(
            f"kernel {stage.kernel}, stride {stage.stride}, padding {stage.padding}: neighbours\n"
            f"share {stage.kernel - stage.stride} of {stage.kernel} {unit}",
            loc="left",
            fontsize=9,
            pad=3,
        )
        axes = sheet.axes(0, column)
        axes.imshow(image)
        _draw_lines(axes, stage.query_pixels, (rows, columns), image.shape, "white", 0.35)
        axes.add_patch(
            Rectangle((x - 0.5, y - 0.5), wide, high, fill=False, edgecolor=MARK, lw=1.5)
        )
        axes.set_title(
            f"Stage {stage.number}: {rows}x{columns} patches, one for each "
            f"{stage.query_pixels} pixels",
            loc="left",
            fontsize=9.5,
            pad=4,
        )
    return sheet.rendered()


class _Sheet:
    """A figure of equal panels in rows and columns, each with space for titles above."""

    def __init__(self, image, rows, columns, panel=_PANEL):
        self.columns = columns
        self._panel, self._height = panel, panel * image.shape[0] / image.shape[1]
        size = (columns * (panel + _GAP) + _GAP, rows * (self._height + _TITLE) + _GAP)
        self._figure, self._axes = Figure(size, dpi=_DPI), {}

    def axes(self, row, column, *, down=1, across=1):
        """The axes of a panel, or of one as large as several."""
        if (row, column) not in self._axes:
            width, height = self._figure.get_size_inches()
            box = (
                (_GAP + column * (self._panel + _GAP)) / width,
                1 - (row + down) * (self._height + _TITLE) / height,
                (across * (self._panel + _GAP) - _GAP) / width,
                (down * (self._height + _TITLE) - _TITLE) / height,
            )
            self._axes[row, column] = self._figure.add_axes(box)
            self._axes[row, column].axis("off")
        return self._axes[row, column]

    def title(self, row, text):
        """Writes above the titles of a row's panels."""
        above = 1 + (_TITLE - 0.23) / self._height
        axes = self.axes(row, 0)
        axes.text(0, above, text, transform=axes.transAxes, fontsize=10.5, weight="bold")

    def rendered(self):
        canvas = FigureCanvasAgg(self._figure)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _draw_keys(axes, stage, size):
    """The grid of keys, within the image."""
    for count, each, other, along in (
        (stage.key_grid[0], stage.key_pixels[0], stage.key_grid[1] * stage.key_pixels[1], "y"),
        (stage.key_grid[1], stage.key_pixels[1], stage.key_grid[0] * stage.key_pixels[0], "x"),
    ):
        limit = size[1] if along == "y" else size[0]
        edges = np.arange(count + 1) * each - 0.5
        lines = axes.hlines if along == "y" else axes.vlines
        lines(edges, -0.5, min(other, limit) - 0.5, color="white", linewidth=0.25, alpha=0.6)
    axes.set_xlim(-0.5, size[1] - 0.5)
    axes.set_ylim(size[0] - 0.5, -0.5)


def _draw_query(axes, stage, point):
    """The cell of the query, with a cross-hair because it can be as small as four pixels."""
    row, column = query_cell(stage, point)
    corner = (column * stage.query_pixels - 0.5, row * stage.query_pixels - 0.5)
    axes.add_patch(
        Rectangle(
            corner,
            stage.query_pixels,
            stage.query_pixels,
            fill=False,
            edgecolor=MARK,
            linewidth=1.2,
        )
    )
    y, x = ((i + 0.5) * stage.query_pixels - 0.5 for i in (row, column))
    axes.plot(x, y, "+", color=MARK, markersize=9, markeredgewidth=1)


def _draw_image(axes, image, point, name):
    axes.imshow(image)
    query = "All queries of the image, averaged."
    if point is not None:
        axes.plot(point[1], point[0], "+", color="black", markersize=22, markeredgewidth=4)
        axes.plot(point[1], point[0], "+", color=MARK, markersize=20, markeredgewidth=2)
        query = f"Query (cross): x {point[1]:.0f}, y {point[0]:.0f}."
    text = (
        f"{name}\n\n{query}\nEach cell is a key; light keys give\nthe query most, up to the peak"
        "\nnamed above each panel.\nDark rim: no key stands there."
    )
    axes.text(1.03, 1, text, transform=axes.transAxes, fontsize=9.5, va="top", linespacing=1.4)
    axes.set_anchor("NW")


def _draw_lines(axes, each, counts, size, color, width):
    rows, columns = (np.arange(1, count) * each - 0.5 for count in counts)
    axes.hlines(rows, -0.5, size[1] - 0.5, color=color, linewidth=width, alpha=0.7)
    axes.vlines(columns, -0.5, size[0] - 0.5, color=color, linewidth=width, alpha=0.7)
    axes.set_xlim(-0.5, size[1] - 0.5)
    axes.set_ylim(size[0] - 0.5, -0.5)


def _draw_windows(axes, image, stage, row):
    """Three windows of a stage at the left edge, the first in a given row of patches."""
    cell, step = stage.cell_pixels, stage.query_pixels
    pad = stage.padding * cell
    height, width = image.shape[:2]
    top = row * step - pad - step // 2
    down = 2 * step + stage.kernel * cell
    across = round(down * width / height)
    axes.imshow(image, interpolation="nearest")
    _draw_lines(axes, cell, (height // cell + 1, width // cell + 1), image.shape, "white", 0.5)
    edges = {"facecolor": "0.85", "edgecolor": "0.5", "hatch": "///"}
    for corner, wide, high in (
        ((-2 * across, -2 * down), 2 * across, height + 4 * down),
        ((-2 * across, -2 * down), width + 4 * across, 2 * down),
        ((-2 * across, height), width + 4 * across, 2 * down),
    ):
        axes.add_patch(Rectangle(np.subtract(corner, 0.5), wide, high, **edges))
    side = stage.kernel * cell
    for (i, j), color in zip(((0, 0), (0, 1), (1, 0)), _WINDOWS, strict=True):
        corner = (j * step - pad - 0.5, (row + i) * step - pad - 0.5)
        axes.add_patch(Rectangle(corner, side, side, facecolor=color, alpha=0.3))
        axes.add_patch(Rectangle(corner, side, side, fill=False, edgecolor=color, linewidth=2))
    axes.set_xlim(-0.5 - pad, across - pad - 0.5)
    axes.set_ylim(top + down - 0.5, top - 0.5)
    return (0, top), (across - pad, down)
