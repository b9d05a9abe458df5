"""Templates compile, escape their values, and are installed with the package."""

import configparser
import fnmatch

import jinja2
import numpy as np
import pytest

from kseg.labels import LabelClass, LabelSet
from kseg.visualize import pages
from kseg.visualize.percent import percent, percent_cell
from tests.browser import Page
from tests.conftest import ROOT

LABELS = LabelSet("one", (LabelClass("<b>road</b>", (9, 9, 200), drivable=True),))
TEMPLATES = [
    f"{path.parent.parent.relative_to(ROOT).as_posix().replace('/', '.')}/{path.name}"
    for package in ("kseg", "tfrecords_tools")
    for path in sorted((ROOT / package).rglob("templates/*.html"))
]


@pytest.fixture
def template(monkeypatch):
    """Returns a function (text) -> name of a template with that text."""

    def make(text):
        loader = jinja2.DictLoader({"test/test.html": text})
        both = jinja2.ChoiceLoader([loader, pages._environment.loader])
        monkeypatch.setattr(pages._environment, "loader", both)
        return "test/test.html"

    return make


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_template_compiles(name):
    assert pages._environment.get_template(name)


def test_all_template_files_are_package_data():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    patterns = setup["options.package_data"]["*"].split()
    for path in (ROOT / "kseg").rglob("templates/*"):
        assert any(fnmatch.fnmatch(f"templates/{path.name}", one) for one in patterns), path


def test_values_are_escaped_and_legends_name_pattern_and_class(template):
    text = '{% from "kseg.visualize/parts.html" import legend %}{{ legend(labels) }}{{ name }}'
    page = Page(pages.render(template(text), {"labels": LABELS, "name": "<i>&"}))
    assert "<b>road</b> (stripes rising to the right)" in " ".join(page.text.split())
    assert page.text.rstrip().endswith("<i>&") and [tag for tag, _ in page.tags] == [
        "ul",
        "li",
        "img",
    ]


def test_a_missing_value_is_an_error(template):
    with pytest.raises(jinja2.UndefinedError, match="name"):
        pages.render(template("{{ name }}"), {})


def test_scripts_and_style_sheets_are_inserted_unchanged(template):
    name = "kseg.report/frames.js"
    script = (ROOT / "kseg" / "report" / "templates" / "frames.js").read_text()
    assert pages.render(template(f'{{{{ file("{name}") }}}}'), {}) == script


def test_images_become_data_uris():
    image = np.zeros((2, 3, 3), np.uint8)
    assert pages.data_uri(image).startswith("data:image/png;base64,iVBOR")
    assert pages.data_uri(image, "jpeg").startswith("data:image/jpeg;base64,/9j/")


def test_percentages_are_never_rounded_up_to_100():
    assert [percent(share) for share in (None, 0.5, 0.99999, 1)] == [
        "-",
        "50.00%",
        ">99.99%",
        "100.00%",
    ]
    assert percent(0.9999, 0) == ">99%"
    assert [percent_cell(share, 1) for share in (None, float("nan"), 0.5)] == ["-", "-", "50.0"]
