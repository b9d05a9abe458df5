"""report.html: its order, its look, and what each part is called."""

from html import escape

from kseg.report import charts, frame_groups, frame_viewer, other_sections, score_sections
from kseg.visualize.html import document

_STYLE = (
    charts.STYLE
    + frame_viewer.STYLE
    + """
h1, h2, h3, p, li { overflow-wrap: anywhere; } td { min-width: 5.5rem; }
th small { display: block; } th[scope=row] { text-align: left; font-weight: normal; }
th:first-child { white-space: normal; overflow-wrap: anywhere; min-width: min(13rem, 30vw); }
.words td { white-space: normal; overflow-wrap: anywhere; min-width: 9rem; max-width: 24rem; }
nav ul { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .2rem 1rem; }
nav a, a { color: var(--bar); }
.even td, .even thead th + th { width: 8rem; min-width: 8rem; max-width: 8rem; }
.even thead th { white-space: normal; overflow-wrap: anywhere; vertical-align: bottom; }
thead .key { display: block; margin: 0 0 0 auto; } .even tbody th { min-width: 16rem; }
.lead { font-size: 1.15rem; } section { scroll-margin-top: 1rem; }
.grid.charts { grid-template-columns: repeat(auto-fill, minmax(min(19rem, 100%), 1fr)); }
.single { max-width: 26rem; }
.pair { display: grid; gap: 1rem 2.5rem;
  grid-template-columns: repeat(auto-fit, minmax(min(27rem, 100%), 1fr)); }
.pair > div { min-width: 0; } h3 { margin: 1.2rem 0 .3rem; }
.confusion td { padding: 1px; } .confusion td div { padding: .3rem .5rem; }
.cell { background: color-mix(in srgb, var(--bar) calc(60% * var(--share)), transparent); }
.cell small { color: inherit; } .cell.right { outline: 2px solid var(--bar); outline-offset: -2px; }
@media (max-width: 30rem) { th .swatch { width: 1.6rem; height: auto; }
  th, td { padding-right: .5rem; } .even tbody th { min-width: 30vw; }
  .even td, .even thead th + th { width: 6rem; min-width: 6rem; max-width: 6rem; } }
details { margin: .6rem 0; } summary { cursor: pointer; }
"""
)


def page(runs, measured, shown, *, split, scenes, tables):
    """Returns the HTML of Runs and what was Measured of each.

    shown: (kind, frame number, an Answer for each run); scenes: (heading, groups) of
    kseg.report.frame_groups; tables: {heading: HTML}, "" for what there is none of.
    """
    names = " and ".join(run.name for run in runs) if len(runs) < 3 else f"{len(runs)} runs"
    title = f"{names} on {runs[0].manifest.dataset}, {split}"
    slider, frames = frame_viewer.section(runs, measured, shown)
    parts = {
        "Side by side": slider
        and f'<div class="look">{slider}<div>{frame_viewer.keys(runs[0].labels)}</div></div>',
        "Curves": score_sections.curves(runs) if any(run.history for run in runs) else "",
        "Classes": score_sections.classes(runs, measured),
        "Confusion": score_sections.confusion(runs, measured),
        "Calibration": score_sections.calibrated(runs, measured),
        "Brightness": _brightness(runs, measured),
        "Scenes": _scenes(runs, measured, scenes),
        "Frames": frames,
        "Data set": other_sections.data_set(runs[0].manifest),
        **tables,
        "Settings": other_sections.configs(runs),
    }
    parts = {name: html for name, html in parts.items() if html}
    links = "".join(f'<li><a href="#{_id(name)}">{name}</a></li>' for name in parts)
    head = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="lead">{escape(score_sections.verdict(runs, measured, split))}</p>',
        score_sections.scores(runs, measured),
        f'<nav aria-label="Sections"><ul>{links}</ul></nav>',
    ]
    return document(
        title,
        head
        + [
            f'<section id="{_id(name)}"><h2>{name}</h2>{html}</section>'
            for name, html in parts.items()
        ],
        _STYLE,
    )


def _id(name):
    return name.lower().replace(" ", "-")


def _brightness(runs, measured):
    thirds = frame_groups.thirds(measured[0].luma)
    if not thirds:
        return ""
    told = "<p>Mean IoU by the frames' mean luma, 0 black to 255 white, as tfrecords_tools.inspect "
    return f"{told}measures it, in three parts of equal size.</p>" + score_sections.grouped(
        runs, measured, "brightness", thirds
    )


def _scenes(runs, measured, scenes):
    return "".join(
        score_sections.grouped(runs, measured, heading, found) for heading, found in scenes
    )
