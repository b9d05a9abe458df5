"""The chosen frames: a slider that wipes between two pictures of one frame, and all of them below.

The slider takes its pictures from the frames below it, so each is in the page once; without
script the page shows them all the same.
"""

from html import escape

import numpy as np

from kseg.export.frame_figures import shrunk
from kseg.report import charts, frame_images
from kseg.report.score_sections import heads
from kseg.visualize.html import data_uri, legend, patterned, percent

STYLE = """
.look { display: grid; gap: 0 2rem; } .look .legend { flex-direction: column; margin: .4rem 0; }
.look li { display: flex; align-items: center; }
.look > *, .viewer { min-width: 0; }
@media (min-width: 60rem) { .look { grid-template-columns: minmax(0, 3fr) minmax(0, 1.2fr); } }
.controls { display: flex; flex-wrap: wrap; gap: .5rem 1rem; margin-bottom: .6rem; }
.controls label { display: flex; flex-direction: column; font-size: .875rem; flex: 1 1 8rem;
  min-width: 0; } .controls select { width: 100%; }
.controls label:first-child { flex-basis: 15rem; }
select, button { font: inherit; padding: .3rem .4rem; max-width: 100%; min-width: 0; color: inherit;
  background: var(--paper); border: 1px solid var(--soft); border-radius: .3rem; }
button { font-size: .875rem; cursor: pointer; }
.stage { position: relative; overflow: hidden; touch-action: pan-y; cursor: ew-resize; }
.stage img { width: 100%; height: auto; display: block; user-select: none; }
.stage .over { position: absolute; inset: 0; height: 100%; }
.stage .edge { position: absolute; inset: 0 auto 0 50%; width: 3px; margin-left: -1.5px;
  background: #fff; box-shadow: 0 0 0 1px #000; }
.stage .tag { position: absolute; top: .4rem; padding: .1rem .5rem; border-radius: .3rem;
  background: rgb(0 0 0 / .7); color: #fff; font-size: .875rem; max-width: 46%;
  overflow-wrap: anywhere; } .tag.left { left: .4rem; } .tag.right { right: .4rem; }
.viewer input { width: 100%; margin: .6rem 0 0; height: 1.6rem; accent-color: var(--bar); }
:focus-visible { outline: 3px solid var(--bar); outline-offset: 2px; }
.shots { display: grid; gap: .5rem;
  grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); }
@media (min-width: 60rem) {
  .several .shots { grid-template-columns: repeat(var(--runs), minmax(0, 18rem)); }
  .several .shots figure { grid-area: var(--row) / var(--column); } }
.shot { margin: 1.6rem 0; } .shot h3 { margin: 0; }
.shot p { margin: .1rem 0 .4rem; }
"""

_SCRIPT = """
(() => {
  const find = (id) => document.getElementById("viewer-" + id);
  const [frame, left, right, wipe] = ["frame", "left", "right", "wipe"].map(find);
  const [under, over, edge, stage] = ["under", "over", "edge", "stage"].map(find);
  const shots = document.querySelectorAll(".shot");
  const named = (select) => select.selectedOptions[0].textContent;
  function show() {
    const shot = shots[frame.selectedIndex];
    for (const [picture, select, tag] of [[under, left, "left"], [over, right, "right"]]) {
      const source = shot.querySelector(`img[data-view="${select.value}"]`);
      picture.src = source.src;
      picture.alt = source.alt;
      find("tag-" + tag).textContent = named(select);
    }
    find("told").textContent = shot.querySelector("p").textContent;
    move();
  }
  function move() {
    const at = wipe.value;
    over.style.clipPath = `inset(0 0 0 ${at}%)`;
    edge.style.left = at + "%";
    wipe.setAttribute("aria-valuetext", `${at} % ${named(left)}, ${100 - at} % ${named(right)}`);
  }
  function drag(event) {
    const box = stage.getBoundingClientRect();
    wipe.value = Math.round(100 * (event.clientX - box.left) / box.width);
    move();
  }
  for (const select of [frame, left, right]) select.addEventListener("change", show);
  wipe.addEventListener("input", move);
  stage.addEventListener("pointerdown", drag);
  stage.addEventListener("pointermove", (event) => event.buttons && drag(event));
  shots.forEach((shot, i) => {
    const button = shot.querySelector("button");
    button.hidden = false;
    button.addEventListener("click", () => {
      frame.selectedIndex = i;
      show();
      document.getElementById("viewer").scrollIntoView();
      wipe.focus();
    });
  });
  document.getElementById("viewer").hidden = false;
  show();
})();
"""


def section(runs, measured, shown):
    """Returns (slider, frames and script), HTML both.

    shown: (kind, frame number, an Answer for each run) of each frame to show.
    """
    if not shown:
        return "", ""
    views = [("frame", "the frame"), ("truth", "truth")]
    views += [(f"answer-{i}", run.name) for i, run in enumerate(runs)]
    views += [(f"mistakes-{i}", f"mistakes of {run.name}") for i, run in enumerate(runs)]
    scores = np.array([m.by_frame(runs[0].labels) for m in measured])
    shots = [_shot(runs, measured, scores, views, place, one) for place, one in enumerate(shown)]
    options = [
        f"{kind}: {measured[0].keys[number]}, {percent(scores[:, number].mean(), 1)}"
        for kind, number, _ in shown
    ]
    start = ("truth", "answer-0") if len(runs) == 1 else ("answer-0", "answer-1")
    slider = _slider(views, options, *start)
    told = (
        f"<p>{len(shown)} of {len(scores[0]):,} frames: the worst, the best and those in the middle"
        f"{', and those on which the runs differ most' * (len(runs) > 1)}, by the mean IoU of the "
        "frame over the classes in it; of frames with neighbouring names, one.</p>"
    )
    page = _quantiles(runs, scores) + told + "".join(shots)
    return slider, f"{page}<script>{_SCRIPT}</script>"


def _slider(views, options, left, right):
    def select(name, told, entries, chosen=None):
        listed = "".join(
            f'<option value="{value}"{" selected" * (value == chosen)}>{escape(text)}</option>'
            for value, text in entries
        )
        return f'<label>{told}<select id="viewer-{name}">{listed}</select></label>'

    return (
        '<div class="viewer" id="viewer" hidden><div class="controls">'
        + select("frame", "Frame, mean IoU", enumerate(options))
        + select("left", "Left", views, left)
        + select("right", "Right", views, right)
        + '</div><div class="stage" id="viewer-stage"><img id="viewer-under" alt="" '
        'draggable="false"><img class="over" id="viewer-over" alt="" draggable="false">'
        '<div class="edge" id="viewer-edge"></div><span class="tag left" id="viewer-tag-left">'
        '</span><span class="tag right" id="viewer-tag-right"></span></div>'
        '<input type="range" id="viewer-wipe" min="0" max="100" value="50" '
        'aria-label="Edge between the left and the right picture"/>'
        '<p class="soft" id="viewer-told" aria-live="polite"></p></div>'
    )


def keys(labels):
    """Returns the HTML of what colours and patterns mean: classes, then mistakes."""
    places = range(len(frame_images.MISTAKES)) if labels.drivable_ids else [2]
    items = "".join(
        f'<li><img class="swatch" src="{data_uri(frame_images.swatch(place))}" alt="">'
        f"mistake: {frame_images.MISTAKES[place][0]}</li>"
        for place in places
    )
    return f'{legend(labels)}<ul class="legend">{items}</ul>'


def _quantiles(runs, scores):
    """A chart: mean IoU by frame, from each run's worst to its best."""
    shares = np.linspace(0, 100, min(101, max(2, scores.shape[1])))
    series = [(i, shares, np.percentile(one, shares)) for i, one in enumerate(scores)]
    told = "; ".join(
        f"{run.name}: worst frame {percent(one.min())}, median {percent(np.median(one))}, best "
        f"{percent(one.max())}"
        for run, one in zip(runs, scores, strict=True)
    )
    chart = charts.line_chart(
        "frames-chart",
        "Mean IoU of the frames, worst to best",
        told,
        series,
        x_label="% of the frames are worse",
    )
    marks = "".join(f"<li>{one}</li>" for one in heads(runs)) if len(runs) > 1 else ""
    names = f'<ul class="legend">{marks}</ul>' if marks else ""
    return f'{names}<figure class="single">{chart}<figcaption>{escape(told)}.</figcaption></figure>'


def _shot(runs, measured, scores, views, place, shown):
    kind, number, answers = shown
    labels, key = runs[0].labels, measured[0].keys[number]
    each = ", ".join(
        f"{run.name} {percent(score, 1)}"
        for run, score in zip(runs, scores[:, number], strict=True)
    )
    drawn = [shrunk(answers[0].image), patterned(answers[0].image, answers[0].truth, labels)]
    drawn += [patterned(one.image, one.predicted, labels) for one in answers]
    drawn += [frame_images.mistakes(one, labels) for one in answers]
    # On a wide page, frame and answers above, truth and mistakes below.
    places = [(1, 1), (2, 1)]
    places += [(row, i + 2) for row in (1, 2) for i in range(len(runs))]
    figures = "".join(
        f'<figure style="--row:{row};--column:{column}"><img data-view="{view}" '
        f'src="{data_uri(picture, "jpeg")}" alt="{escape(f"{key}: {name}", quote=True)}" '
        f'loading="lazy"><figcaption>{escape(name)}</figcaption></figure>'
        for (view, name), picture, (row, column) in zip(views, drawn, places, strict=True)
    )
    several = " several" * (1 < len(runs) < 6)
    return (
        f'<article class="shot{several}" id="frame-{place}" style="--runs:{len(runs) + 1}">'
        f"<h3>{kind.capitalize()}: {escape(key)}</h3>"
        f"<p>Mean IoU: {escape(each)}. Luma {measured[0].luma[number]:.0f}.</p>"
        f'<div class="shots">{figures}</div>'
        f'<p><button type="button" hidden>Look at it in the slider</button></p></article>'
    )
