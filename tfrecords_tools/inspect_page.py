"""The page of tfrecords_tools.inspect: one HTML file, no script, nothing from elsewhere."""

from html import escape

import numpy as np

from kseg.labels import IGNORE_ID
from kseg.visualize.html import data_uri, document, legend, patterned
from tfrecords_tools.inspect_figures import heat_picture, heat_scale
from tfrecords_tools.split_statistics import dark_threshold

_BINS = 16  # Bars of the brightness histogram, 16 levels each.


def page(title, manifest, measured, frames, warnings):
    """Returns the HTML of a Manifest and {split: SplitStatistics}.

    frames: (split, number, image, mask) to show. warnings: lines to put on top.
    """
    heading = f"{title}: {manifest.dataset}"
    sections = [
        f"<h1>{escape(heading)}</h1>",
        f"<p>{_summary(manifest, measured)}</p>",
        *(f'<p class="warning">Warning: {escape(line)}</p>' for line in warnings),
        _shares(manifest, measured),
        _heat_maps(manifest, measured),
        _brightness(measured),
        _sheet(manifest, measured, frames),
    ]
    return document(heading, sections)


def _summary(manifest, measured):
    frames = sum(len(values.keys) for values in measured.values())
    shards = [shard for split in manifest.splits.values() for shard in split.shards]
    size = f"{manifest.size[0]}x{manifest.size[1]}" if manifest.size else "several sizes"
    megabytes = sum(shard.bytes for shard in shards) / 1e6
    return (
        f"{frames:,} frames of {size} (height x width), {len(manifest.labels.classes)} classes, "
        f"{len(shards)} shards, {megabytes:,.1f} MB."
    )


def _ids(manifest, measured):
    """(id, name) of every class, and of the ignored pixels if there are any."""
    ids = list(enumerate(manifest.labels.names))
    if any(values.counts[IGNORE_ID] for values in measured.values()):
        ids.append((IGNORE_ID, "ignored"))
    return ids


def _shares(manifest, measured):
    """The table of classes by splits."""
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in measured)
    frames = "".join(f"<td>{len(values.keys):,}</td>" for values in measured.values())
    shards = "".join(f"<td>{len(manifest.splits[name].shards):,}</td>" for name in measured)
    rows = [f'<tr><th scope="row">frames</th>{frames}</tr>']
    rows.append(f'<tr><th scope="row">shards</th>{shards}</tr>')
    for class_id, name in _ids(manifest, measured):
        cells = "".join(_share(values, class_id, manifest) for values in measured.values())
        rows.append(f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>')
    return (
        "<h2>Classes</h2>\n<p>Shares are of the labelled pixels; of ignored pixels, of all. Below "
        "them the pixels, and in how many of the frames there is any.</p>\n"
        f'<div class="wide"><table><thead><tr><th scope="col">split</th>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _share(values, class_id, manifest):
    total = values.counts[: len(manifest.labels.classes)].sum()
    if class_id == IGNORE_ID:
        total = values.counts.sum()
    count, present = values.counts[class_id], values.present[class_id]
    share = count / max(1, total)
    seen = present / max(1, len(values.keys))
    return (
        f"<td>{share:.1%}<div class=bar style=width:{share:.1%}></div>"
        f"<small>{count:,} px</small><small>in {escape(_rounded(seen))} of frames</small></td>"
    )


def _heat_maps(manifest, measured):
    """For each class one map per split, all of a class on one scale."""
    parts = [
        "<h2>Where labels lie</h2>\n<p>How often each place of the frame has the class, as the mean"
        " over the frames. Each class has its own scale, the same in all splits, from never (dark)"
        " to its most frequent place (light). The white line is at half of that.</p>",
        f'<p><img src="{data_uri(heat_scale())}" alt="Scale from dark blue to light yellow"> '
        "never to most</p>",
    ]
    for class_id, name in _ids(manifest, measured):
        maps = {split: v.heat[class_id] for split, v in measured.items() if v.heat}
        top = max((heat.max() for heat in maps.values()), default=0)
        figures = "".join(_heat_figure(name, split, maps[split], top) for split in maps)
        parts.append(
            f'<h3>{escape(name)}: up to {top:.0%} of frames</h3>\n<div class="grid">{figures}</div>'
        )
    return "\n".join(parts)


def _heat_figure(name, split, heat, top):
    # Where many cells are as frequent, the one nearest to their middle.
    cells = np.argwhere(heat >= 0.98 * heat.max())
    row, column = min(cells, key=lambda cell: ((cell - cells.mean(axis=0)) ** 2).sum())
    down, across = (row + 0.5) / heat.shape[0], (column + 0.5) / heat.shape[1]
    told = (
        f"most often {down:.0%} down and {across:.0%} across, in {heat.max():.0%} of frames"
        if heat.any()
        else "nowhere"
    )
    alt = escape(f"Heat map of {name} in {split}: {told}", quote=True)
    return (
        f'<figure><img src="{data_uri(heat_picture(heat, top))}" alt="{alt}">'
        f"<figcaption>{escape(split)}: {told}</figcaption></figure>"
    )


def _brightness(measured):
    """A histogram for each split, and what the humps of all frames propose."""
    luma = np.concatenate([values.luma for values in measured.values()] or [[]])
    threshold = dark_threshold(luma)
    if threshold is None:
        told = "Nothing here parts night from day: no dark hump of its own, or too few frames."
    else:
        dark = ", ".join(
            f"{(values.luma < threshold).sum():,} of {len(values.luma):,} in {escape(name)}"
            for name, values in measured.items()
        )
        told = (
            f"A dark hump of its own: below {threshold} (dashed line) may be the night frames: "
            f"{dark}."
        )
    parts = [
        "<h2>Brightness</h2>\n<p>Mean luma of each frame, 0 black to 255 white. Bars are shares of "
        f"the split's frames. {told}</p>"
    ]
    figures = [
        f"<figure>{_histogram(name, values.luma, threshold)}<figcaption>{escape(name)}: median "
        f"{np.median(values.luma):.0f}</figcaption></figure>"
        for name, values in measured.items()
        if len(values.luma)
    ]
    return "\n".join([*parts, f'<div class="grid">{"".join(figures)}</div>'])


def _histogram(name, luma, threshold):
    """SVG of 256 by 90 units for the bars, with an axis below."""
    shares = np.histogram(luma, _BINS, (0, 256))[0] / len(luma)
    step, top = 256 // _BINS, shares.max()
    parts = []
    for i, share in enumerate(shares):
        height = 90 * share / top
        parts.append(
            f'<rect x="{i * step + 1}" y="{102 - height:.1f}" width="{step - 2}" '
            f'height="{height:.1f}"><title>luma {i * step} to {i * step + step - 1}: {share:.1%}'
            "</title></rect>"
        )
    parts.append('<line x1="0" x2="256" y1="102.5" y2="102.5"/>')
    for tick, anchor in (
        (0, "start"),
        (64, "middle"),
        (128, "middle"),
        (192, "middle"),
        (255, "end"),
    ):
        parts.append(f'<text x="{tick}" y="114" text-anchor="{anchor}">{tick}</text>')
    mode = int(shares.argmax()) * step
    middle = min(max(mode + step / 2, 14), 242)
    parts.append(f'<text x="{middle}" y="9" text-anchor="middle">{top:.0%}</text>')
    if threshold is not None:
        parts.append(
            f'<line x1="{threshold}" x2="{threshold}" y1="12" y2="102" stroke-dasharray="4 3"/>'
        )
    alt = escape(
        f"Histogram of luma in {name}: most frames at {mode} to {mode + step - 1}", quote=True
    )
    return f'<svg viewBox="0 0 256 118" role="img" aria-label="{alt}">{"".join(parts)}</svg>'


def _sheet(manifest, measured, frames):
    """Frames with their labels, and what colours and patterns mean."""
    figures = "".join(_frame(manifest, measured, *frame) for frame in frames)
    return (
        f"<h2>Frames</h2>\n<p>{len(frames)} frames drawn at random, dark to bright. Ignored pixels "
        f'are darkened.</p>\n{legend(manifest.labels)}\n<div class="grid">{figures}</div>'
    )


def _frame(manifest, measured, split, number, image, mask):
    key, luma = measured[split].keys[number], measured[split].luma[number]
    shares = np.bincount(mask.ravel(), minlength=256) / mask.size
    told = ", ".join(
        f"{name} {_rounded(shares[i])}" for i, name in enumerate(manifest.labels.names) if shares[i]
    )
    picture = data_uri(patterned(image, mask, manifest.labels), "jpeg")
    alt = escape(f"Frame {key} with its labels: {told}", quote=True)
    return (
        f'<figure><img src="{picture}" alt="{alt}" loading="lazy"><figcaption>{escape(split)}, '
        f"{escape(key)}, luma {luma:.0f}: {escape(told)}</figcaption></figure>"
    )


def _rounded(share):
    """Percent without decimals; what is there is never 0 %, what lacks something never 100 %."""
    if 0 < share < 0.005:
        return "<1%"
    return ">99%" if 0.995 <= share < 1 else f"{share:.0%}"
