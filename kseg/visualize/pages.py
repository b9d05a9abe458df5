"""HTML pages from Jinja2 templates: self-contained files that load nothing from a network.

A template is named PACKAGE/FILE and lies in the folder `templates` of that package, for instance
`kseg.report/report.html`. All pages extend `kseg.visualize/base.html`. Values are escaped unless
a template marks them safe.
"""

import base64
import importlib.resources

import cv2
import jinja2
import markupsafe
import numpy as np

from kseg.visualize.patterns import pattern_name, swatch
from kseg.visualize.percent import percent


def render(template: str, values: dict) -> str:
    """Returns the text of a template, PACKAGE/FILE. A missing value raises UndefinedError."""
    return _environment.get_template(template).render(values)


def data_uri(image: np.ndarray, kind: str = "png") -> str:
    """(H, W, 3) uint8 RGB, or (H, W) uint8 -> data URI of a PNG or JPEG ("jpeg") file."""
    flags = [cv2.IMWRITE_JPEG_QUALITY, 85] if kind == "jpeg" else [cv2.IMWRITE_PNG_COMPRESSION, 9]
    if image.ndim == 3:
        image = np.ascontiguousarray(image[..., ::-1])
    data = cv2.imencode(f".{kind}", image, flags)[1]
    return f"data:image/{kind};base64,{base64.b64encode(data.tobytes()).decode()}"


def _load(name: str) -> tuple[str, str, None]:
    """Returns (text, path, None: never reloaded) of PACKAGE/FILE."""
    package, file = name.split("/")
    path = importlib.resources.files(package).joinpath("templates", file)
    return path.read_text("utf-8"), str(path), None


_environment = jinja2.Environment(
    loader=jinja2.FunctionLoader(_load),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters |= {
    "percent": percent,
    "png": data_uri,
    "jpeg": lambda image: data_uri(image, "jpeg"),
    "thousands": "{:,}".format,
}
_environment.globals |= {
    # Style sheets and scripts are not parsed as templates: braces mean nothing special in them.
    "file": lambda name: markupsafe.Markup(_load(name)[0]),
    "pattern_name": pattern_name,
    "swatch": swatch,
}
