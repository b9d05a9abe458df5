"""From a Source to a finished folder: plan the shards, write what is missing, add it all up.

The shards appear in OUT.partial, which is renamed to OUT when all is written: a killed build never
looks finished, and the same command again continues with the missing shards. In a bucket they
appear in OUT itself, whose manifest, written last, says that it is whole.
"""

import hashlib
import json
import os
import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from kseg.errors import InputError
from kseg.labels import IGNORE_ID
from kseg.manifest import FILE_NAME, Manifest, Shard, Split, read_manifest
from kseg.paths import is_remote
from tfrecords_tools import executors, shards, tfds_metadata

SHARD_EXAMPLES = 256
FRAMES_PER_WORKER = 400
QUARANTINE = "quarantine.jsonl"
_LOOKS_AT_ONCE = 32


def divide(splits, shares, limit, seed):
    """Returns {split: frames}, the source's own or a random one, in the order of writing.

    The order is shuffled: neighbours in a video land in different shards.
    """
    if limit or shares:
        pool = [(name, frame) for name, frames in splits.items() for frame in frames]
        random.Random(seed).shuffle(pool)
        pool = pool[:limit]
        splits = {n: [f for name, f in pool if name == n] for n in splits}
    if shares:
        frames = [frame for _, frame in pool]
        if len({f.key for f in frames}) < len(frames):
            raise InputError("--split: the same frame name is in two splits; rename one of them")
        # Cumulative, so that rounding neither loses a frame nor puts one in two splits.
        first, second = round(shares[0] * len(frames)), round(sum(shares[:2]) * len(frames))
        splits = {"train": frames[:first], "val": frames[first:second], "test": frames[second:]}
    splits = {name: list(frames) for name, frames in splits.items() if frames}
    for frames in splits.values():
        random.Random(seed).shuffle(frames)
    return splits


def plan(source, splits, args):
    """Returns {split: ShardJobs}. Shard names follow TFDS, so that its tools open the folder."""
    # TFDS knows a data set by a name without hyphens.
    dataset = source.name.replace("-", "_")
    size = tuple(args.size) if args.size else None
    jobs = {}
    for split, frames in splits.items():
        groups = [frames[i : i + SHARD_EXAMPLES] for i in range(0, len(frames), SHARD_EXAMPLES)]
        jobs[split] = [
            shards.ShardJob(
                f"{dataset}-{split}.tfrecord-{number:05d}-of-{len(groups):05d}",
                tuple(group),
                source.labels,
                source.read_mask,
                source.origin,
                size,
                args.fit,
            )
            for number, group in enumerate(groups)
        ]
    return jobs


def describe_request(args, source, jobs):
    """What was asked for, as JSON: equal requests give equal shards."""
    asked = ("source", "task", "size", "fit", "split", "limit", "seed")
    every = [job for split in jobs.values() for job in split]
    with ThreadPoolExecutor(_LOOKS_AT_ONCE) as pool:  # For buckets, where each look takes its time.
        digests = list(pool.map(lambda job: job.digest(), every))
    inputs = hashlib.sha256("".join(digests).encode()).hexdigest()
    return {name: getattr(args, name) for name in asked} | {
        "labels": source.origin,
        "inputs": inputs,
    }


def already_built(out, request):
    """True when OUT holds this very data set. Raises InputError when it holds anything else.

    In a bucket it may hold what an interrupted build has written so far.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    if (out / FILE_NAME).is_file():
        if read_manifest(out).request == request:
            return True
    elif is_remote(out) and all(_is_ours(path) for path in out.iterdir()):
        return False
    raise InputError(
        f"{out}: already exists and holds something else; choose another --out or remove it first"
    )


def convert(source, jobs, request, args, out):
    """Writes what is missing to OUT.partial, then renames it to OUT. Returns the Manifest."""
    # Renaming a folder of a bucket would copy it; there the manifest, written last, is the sign.
    partial = out if is_remote(out) else out.with_name(out.name + ".partial")
    partial.mkdir(parents=True, exist_ok=True)
    every = [job for split in jobs.values() for job in split]
    shards.clear_strangers(every, partial)
    missing = [job for job in every if not shards.finished(job, partial)]
    if len(missing) < len(every):
        print(f"{partial}: continuing, {len(every) - len(missing)} of {len(every)} shards are done")
    _run(missing, partial, args)
    shards.clear_strangers(every, partial)  # Of workers that died and were replaced.
    reports = {split: [shards.report(job, partial) for job in jobs[split]] for split in jobs}
    _quarantine(reports, partial, args.max_bad)
    built = _manifest(source, jobs, reports, request)
    tfds_metadata.write(partial, built, source.card)
    (partial / FILE_NAME).write_text(built.to_json())
    shards.remove_reports(every, partial)
    if partial != out:
        if out.exists():
            out.rmdir()
        partial.rename(out)
    return built


def _is_ours(path):
    return ".tfrecord-" in path.name or path.name in (QUARANTINE, *tfds_metadata.FILES)


def _run(jobs, partial, args):
    """Runs the jobs under one progress bar, in the place that the flags name."""
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    if args.beam_runner:
        executors.run_beam(jobs, partial, args.beam_runner, args.beam_options)
        return
    frames = sum(len(job.frames) for job in jobs)
    # Each process spends seconds on importing TensorFlow: a few hundred frames pay for that.
    workers = args.workers or min(os.cpu_count(), 1 + frames // FRAMES_PER_WORKER)
    workers = min(workers, len(jobs))
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as bar:
        task = bar.add_task("frames", total=frames)

        def progress(count):
            bar.advance(task, count)

        if workers > 1:
            executors.run_pool(jobs, partial, progress, workers)
        else:
            executors.run_here(jobs, partial, progress)


def _quarantine(reports, partial, max_bad):
    """Lists the frames left out. Raises InputError when they are more than max_bad per cent."""
    every = [report for split in reports.values() for report in split]
    bad = [entry for report in every for entry in report.bad]
    path = partial / QUARANTINE
    path.unlink(missing_ok=True)
    if not bad:
        return
    path.write_text("".join(json.dumps(entry) + "\n" for entry in bad))
    total = len(bad) + sum(report.examples for report in every)
    share = 100 * len(bad) / total
    if share > max_bad:
        raise InputError(
            f"{len(bad)} of {total} frames cannot be used ({share:.2g} %, --max-bad is "
            f"{max_bad:g}); first: {bad[0]['reason']}; all are in {path}; mend them and run the "
            "same command again"
        )


def _manifest(source, jobs, reports, request):
    sizes = {size for split in reports.values() for report in split for size in report.sizes}
    splits = {}
    for split, done in reports.items():
        ids = np.sum([report.ids for report in done], axis=0)
        splits[split] = Split(
            examples=sum(report.examples for report in done),
            pixels=tuple(int(n) for n in ids[: len(source.labels.classes)]),
            ignored=int(ids[IGNORE_ID]),
            shards=tuple(
                Shard(job.name, report.examples, report.sha256, report.bytes)
                for job, report in zip(jobs[split], done, strict=True)
            ),
        )
    size = sizes.pop() if len(sizes) == 1 else None
    return Manifest(source.name, source.labels, size, splits, request)
