"""What all HTML pages of ours share: one look, pictures inside the file, nothing from elsewhere."""

import base64
from html import escape

import cv2
import numpy as np

from kseg.labels import IGNORE_ID
from kseg.visualize.overlay import overlay

WIDTH = 480  # Pixels of an overlay.
_PERIOD = 10

# What tells classes apart without colour: (name, true where a line is drawn).
PATTERNS = (
    ("stripes rising to the right", lambda y, x: (x + y) % _PERIOD < 2),
    ("stripes falling to the right", lambda y, x: (x - y) % _PERIOD < 2),
    ("level stripes", lambda y, x: y % _PERIOD < 2),
    ("upright stripes", lambda y, x: x % _PERIOD < 2),
    ("dots", lambda y, x: (x % _PERIOD < 4) & (y % _PERIOD < 4)),
    ("grid", lambda y, x: (x % _PERIOD < 2) | (y % _PERIOD < 2)),
    ("dense stripes rising", lambda y, x: (x + y) % 5 < 2),
    ("dense stripes falling", lambda y, x: (x - y) % 5 < 2),
    ("dense level stripes", lambda y, x: y % 5 < 2),
    ("dense upright stripes", lambda y, x: x % 5 < 2),
    ("diamonds", lambda y, x: ((x + y) % _PERIOD < 2) | ((x - y) % _PERIOD < 2)),
)


def pattern_name(labels, class_id):
    """What a class looks like in overlays, in words."""
    if not any(labels.palette[class_id]):
        return "left as it is"
    return PATTERNS[class_id % len(PATTERNS)][0]


def patterned(image, mask, labels):
    """(H, W, 3) uint8 RGB and (H, W) uint8 ids -> overlay with a pattern for each class.

    At most WIDTH wide. Black classes leave the image as it is; ignored pixels are darkened.
    """
    width = min(WIDTH, image.shape[1])
    size = (width, round(image.shape[0] * width / image.shape[1]))
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    # Nearest: anything else would invent class ids along borders.
    mask = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
    picture = overlay(image, mask, labels)
    rows, columns = np.indices(mask.shape)
    for class_id, color in enumerate(labels.palette):
        if any(color):
            lines = PATTERNS[class_id % len(PATTERNS)][1](rows, columns)
            picture[(mask == class_id) & lines] = color
    picture[mask == IGNORE_ID] //= 3
    return picture


def swatch(labels, class_id):
    """(30, 50, 3) uint8 RGB: a piece of grey road under the class's colour and pattern."""
    ids = np.full((30, 50), class_id, np.uint8)
    return patterned(np.full((30, 50, 3), 110, np.uint8), ids, labels)


STYLE = """
:root { color-scheme: light dark; --ink: #1c2126; --soft: #59626b; --paper: #fff; --line: #d5dade;
  --bar: #3b6ea5; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --soft: #a3adb6; --paper: #16191c;
  --line: #3a4147; --bar: #7fb0e6; } }
body { margin: 0 auto; padding: 1rem; max-width: 72rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
h1 { line-height: 1.2; margin: .5rem 0; } h2 { margin: 2.5rem 0 .5rem; }
p { max-width: 46rem; } .soft, small, figcaption { color: var(--soft); }
.warning { border-left: .3rem solid; padding-left: .8rem; font-weight: bold; }
.wide { overflow-x: auto; } table { border-collapse: collapse; }
th, td { padding: .35rem .9rem .35rem 0; text-align: right; vertical-align: top;
  border-bottom: 1px solid var(--line); white-space: nowrap; font-variant-numeric: tabular-nums; }
th:first-child { text-align: left; } td { min-width: 7.5rem; } td small { display: block; }
.bar { height: .5rem; background: var(--bar); margin: .2rem 0 0 auto; }
.grid { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); }
figure { margin: 0; } figure img { width: 100%; height: auto; display: block; }
figcaption { font-size: .875rem; overflow-wrap: anywhere; }
.swatch { vertical-align: middle; margin-right: .4rem; }
ul.legend { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .4rem 1.4rem; }
svg { width: 100%; max-width: 34rem; height: auto; display: block; }
svg text { fill: var(--soft); font: 10px system-ui, sans-serif; }
svg rect { fill: var(--bar); } svg line { stroke: var(--soft); }
"""


def document(title, sections, style=""):
    """Returns an HTML page of sections (HTML texts) in the house's look, and `style` on top."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}{style}</style>\n</head>\n<body>\n"
        + "\n".join(sections)
        + "\n</body>\n</html>\n"
    )


def legend(labels):
    """Returns the HTML list of what colours and patterns mean."""
    items = "".join(
        f'<li><img class="swatch" src="{data_uri(swatch(labels, i))}" alt="">'
        f"{escape(name)} ({pattern_name(labels, i)})</li>"
        for i, name in enumerate(labels.names)
    )
    return f'<ul class="legend">{items}</ul>'


def table(heads, rows, label=""):
    """Returns the HTML of a table: heads and cells are HTML, rows are `row`'s.

    With a label, what does not fit a narrow screen is reached by the keyboard too.
    """
    cells = "".join(f'<th scope="col">{head}</th>' for head in heads)
    reach = f' tabindex="0" role="region" aria-label="{escape(label)}"' if label else ""
    return (
        f'<div class="wide"{reach}><table><thead><tr>{cells}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def row(head, *cells):
    """Returns the HTML of one row of a `table`."""
    return f'<tr><th scope="row">{head}</th>{"".join(f"<td>{c}</td>" for c in cells)}</tr>'


def percent(share, digits=2):
    """A share, 0..1, in words. Never rounded up to 100, so that 100 means all; "-" for None."""
    if share is None:
        return "-"
    text = f"{share:.{digits}%}"
    if share < 1 and text.startswith("100"):
        return f">{100 - 10**-digits:.{digits}f}%"
    return text


def bar(share):
    """A share, 0..1 or None, in words and as a bar below them."""
    if share is None:
        return "-"
    return f'{percent(share)}<div class="bar" style="width:{share:.1%}"></div>'


def data_uri(image, kind="png"):
    """(H, W, 3) uint8 RGB -> data URI of a PNG or JPEG ("jpeg") file."""
    flags = [cv2.IMWRITE_JPEG_QUALITY, 85] if kind == "jpeg" else []
    data = cv2.imencode(f".{kind}", np.ascontiguousarray(image[..., ::-1]), flags)[1]
    return f"data:image/{kind};base64,{base64.b64encode(data.tobytes()).decode()}"
