"""Converts a Source to a folder of TFRecords: plan the shards, write the missing ones, sum up.

The shards appear in OUT.partial, which is renamed to OUT when all are written: a killed build never
looks finished, and the same command continues with the missing shards. A folder of a bucket cannot
be renamed cheaply, so there the shards appear in OUT itself, and the manifest, written last, marks
the data set as complete.
"""

import argparse
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import numpy as np

from kseg import files
from kseg.errors import InputError, user_path
from kseg.labels import IGNORE_ID
from kseg.manifest import FILE_NAME, Manifest, Shard, Split, check_labelled, read_manifest
from kseg.paths import is_remote, refresh
from kseg.preprocess import Size
from tfrecords_tools import shards, tfds_metadata
from tfrecords_tools.datasets import Frame, Source
from tfrecords_tools.shards import ShardJob, ShardReport
from tfrecords_tools.splits import count_drives

SHARD_FRAMES = 256
QUARANTINE = "quarantine.jsonl"
_DIGEST_THREADS = 32  # For buckets, where asking for a file's size and time is slow.


def plan_shards(
    source: Source,
    splits: dict[str, list[Frame]],
    *,
    size: Size | None,
    fit: str,
    shard_frames: int,
) -> dict[str, list[ShardJob]]:
    """Returns {split: ShardJobs}. Shard names follow TFDS, so that its tools open the folder."""
    dataset = source.name.replace("-", "_")  # TFDS allows no hyphens.
    jobs = {}
    for split, frames in splits.items():
        groups = [frames[i : i + shard_frames] for i in range(0, len(frames), shard_frames)]
        jobs[split] = [
            ShardJob(
                name=f"{dataset}-{split}.tfrecord-{number:05d}-of-{len(groups):05d}",
                frames=tuple(group),
                labels=source.labels,
                read_mask=source.read_mask,
                origin=source.origin,
                size=size,
                fit=fit,
            )
            for number, group in enumerate(groups)
        ]
    return jobs


def describe_request(
    args: argparse.Namespace, source: Source, jobs: dict[str, list[ShardJob]]
) -> dict:
    """Returns the build's request for the manifest: equal requests give equal shards."""
    names = ["source", "task", "size", "fit", "split", "limit", "seed"]
    if args.group_by is not None:  # Without it, data sets of older versions are still recognised.
        names.append("group_by")
    with ThreadPoolExecutor(_DIGEST_THREADS) as pool:
        digests = list(pool.map(ShardJob.digest, _all_jobs(jobs)))
    return {name: getattr(args, name) for name in names} | {
        "labels": source.origin,
        "inputs": hashlib.sha256("".join(digests).encode()).hexdigest(),
    }


def already_built(out: Path, request: dict) -> bool:
    """Whether OUT holds exactly this data set. Raises InputError when it holds anything else.

    In a bucket, OUT may also hold what an interrupted build has written so far.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    differs = ""
    if (out / FILE_NAME).is_file():
        # As JSON has it: lists for tuples.
        stored, now = read_manifest(out).request, json.loads(json.dumps(request))
        if stored == now:
            return True
        keys = [key for key in now if stored.get(key) != now[key] and key != "inputs"]
        differs = ", ".join(f"{key} {stored.get(key)} there, {now[key]} now" for key in keys)
    elif is_remote(out) and all(_is_build_output(path) for path in out.iterdir()):
        return False
    raise InputError(
        f"{out}: already exists and holds something else, or this data set as another version of "
        f"tfrecords_tools wrote it{f' ({differs})' if differs else ''}; choose another --out or "
        "remove it first"
    )


def convert(
    source: Source,
    jobs: dict[str, list[ShardJob]],
    request: dict,
    out: Path,
    *,
    max_bad: float,
    run_jobs: Callable[[list[ShardJob], Path], None],
) -> Manifest:
    """Writes the missing shards to OUT.partial, then renames it to OUT.

    run_jobs(jobs, folder) writes the shards. Raises InputError when more than `max_bad` per cent of
    the frames are unusable, and OSError where the disk is full or not writable.
    """
    partial = out if is_remote(out) else out.with_name(out.name + ".partial")
    with user_path(out):
        partial.mkdir(parents=True, exist_ok=True)
    if partial == out:
        return _convert(source, jobs, request, out, out, max_bad, run_jobs)
    with files.lock(partial, "another tfrecords_tools.build writes there"):
        return _convert(source, jobs, request, out, partial, max_bad, run_jobs)


def _convert(source, jobs, request, out, partial, max_bad, run_jobs):
    planned = _all_jobs(jobs)
    shards.remove_stale_files(planned, partial)
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Reads and hashes the finished shards.
        finished = list(pool.map(lambda job: shards.is_finished(job, partial), planned))
    missing = [job for job, done in zip(planned, finished, strict=True) if not done]
    if len(missing) < len(planned):
        done = len(planned) - len(missing)
        print(f"{partial}: continuing, {done} of {len(planned)} shards are done")
    run_jobs(missing, partial)
    refresh(partial)
    _check_written(missing, partial)
    shards.remove_stale_files(planned, partial)  # Those of workers that died and were replaced.
    reports = {split: [shards.read_report(job, partial) for job in jobs[split]] for split in jobs}
    _write_quarantine(list(chain.from_iterable(reports.values())), partial, max_bad)
    manifest = _manifest(source, jobs, reports, request)
    for split in manifest.splits:
        check_labelled(out, manifest, split)
    tfds_metadata.write(partial, manifest, source.card)
    (partial / FILE_NAME).write_text(manifest.to_json())
    shards.remove_reports(planned, partial)
    if partial != out:
        _publish(partial, out)
    return manifest


def _publish(partial: Path, out: Path) -> None:
    """Renames the folder once all of it is on disk, so that a power cut leaves no empty file."""
    for path in partial.iterdir():
        files.sync(path)
    files.sync(partial)
    if out.exists():
        out.rmdir()
    (partial / files.LOCK).unlink(missing_ok=True)
    partial.rename(out)
    files.sync(out.parent)


def _check_written(jobs: list[ShardJob], folder: Path) -> None:
    """Raises InputError when a cluster has lost shards, or written them in another way."""
    lost, other = [], []
    for job in jobs:
        try:
            if shards.read_report(job, folder).job != job.digest():
                other.append(job)
        except FileNotFoundError:
            lost.append(job)
    if lost:
        raise InputError(
            f"{folder}: {len(lost)} of {len(jobs)} shards were not written, first {lost[0].name}; "
            "can every worker reach this place? The same command continues with them"
        )
    if other:
        raise InputError(
            f"{folder / other[0].name}: written by another version of kseg, or its images changed "
            f"meanwhile ({len(other)} of {len(jobs)} shards); install this version on all workers, "
            "and run the same command again"
        )


def _all_jobs(jobs: dict[str, list[ShardJob]]) -> list[ShardJob]:
    return list(chain.from_iterable(jobs.values()))


def _is_build_output(path: Path) -> bool:
    return ".tfrecord-" in path.name or path.name in (QUARANTINE, *tfds_metadata.FILES)


def _write_quarantine(reports: list[ShardReport], folder: Path, max_bad: float) -> None:
    """Lists the unusable frames. Raises InputError when they are more than max_bad per cent."""
    bad = [entry for report in reports for entry in report.bad]
    path = folder / QUARANTINE
    path.unlink(missing_ok=True)
    if not bad:
        return
    path.write_text("".join(json.dumps(entry) + "\n" for entry in bad))
    total = len(bad) + sum(report.examples for report in reports)
    share = 100 * len(bad) / total
    if share > max_bad:
        reasons = count_reasons(bad)
        kinds = "; ".join(f"{count} x {kind}" for kind, count in reasons.items())
        kinds = f": {kinds}" if len(reasons) > 1 else ""
        raise InputError(
            f"{len(bad)} of {total} frames cannot be used ({share:.3g} %, --max-bad is "
            f"{max_bad:g}){kinds}; first: {bad[0]['reason']}; all are listed in {path}; repair "
            "them and run the same command again"
        )


def count_reasons(bad: list[dict[str, str]]) -> dict[str, int]:
    """Groups entries of the quarantine by their reasons, but for names and numbers in them.

    Returns {reason of the first such frame, without file names: frames}, the most frequent first.
    """
    kinds: Counter[str] = Counter()
    first: dict[str, str] = {}
    for entry in bad:
        text = entry["reason"].replace(entry["label"], "").replace(entry["image"], "")
        text = " ".join(text.split()).strip(": ")
        kind = re.sub(r"\d+", "N", text)
        first.setdefault(kind, text)
        kinds[kind] += 1
    return {first[kind]: count for kind, count in kinds.most_common()}


def _manifest(
    source: Source,
    jobs: dict[str, list[ShardJob]],
    reports: dict[str, list[ShardReport]],
    request: dict,
) -> Manifest:
    sizes = {size for report in chain.from_iterable(reports.values()) for size in report.sizes}
    splits = {}
    for split, split_reports in reports.items():
        bad = {entry["key"] for report in split_reports for entry in report.bad}
        keys = (frame.key for job in jobs[split] for frame in job.frames if frame.key not in bad)
        ids = np.sum([report.ids for report in split_reports], axis=0)
        splits[split] = Split(
            examples=sum(report.examples for report in split_reports),
            pixels=tuple(int(n) for n in ids[: len(source.labels.classes)]),
            ignored=int(ids[IGNORE_ID]),
            shards=tuple(
                Shard(job.name, report.examples, report.sha256, report.bytes)
                for job, report in zip(jobs[split], split_reports, strict=True)
            ),
            drives=count_drives(keys, source.drive_pattern),
        )
    size = sizes.pop() if len(sizes) == 1 else None
    every = list(chain.from_iterable(reports.values()))
    notes = sum((Counter(report.notes) for report in every), Counter[str]())
    return Manifest(
        source.name,
        source.labels,
        size,
        splits,
        request,
        drive_pattern=source.drive_pattern,
        notes=dict(sorted(notes.items())),
        reframed=sum(report.reframed for report in every),
    )
