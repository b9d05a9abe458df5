"""What the Python runner's --smooth gains in stability, and what it loses where things move.

    python scripts/benchmarks/smoothing.py MODEL.tflite --videos FILE [FILE ...] --data TFRECORDS

On videos: the flicker of the smoothed class maps. On labelled frames, which are larger than the
model's input: a window moves sideways over each frame of the validation split, so that every frame
of this sequence has labels. Its last frame is scored, with and without smoothing. Objects nearer
than the vanishing point move like this when a car turns. Prints two Markdown tables.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "deploy" / "python"))
from kseg_run.errors import InputError as RunnerInputError
from kseg_run.segmenter import Segmenter
from kseg_run.smoothing import Smoothing

from kseg import preprocess
from kseg.config import Config
from kseg.data import pipeline
from kseg.errors import InputError, run
from kseg.evaluation.flicker import Flicker
from kseg.evaluation.scores import compute_scores, confusion_matrix
from kseg.manifest import read_manifest
from kseg.video_file import VideoFile, VideoFileError

WEIGHTS = (0.0, 0.6, 0.8)  # Up to 0.5 nothing changes.
SPEEDS = (0, 1, 2, 4, 6)  # Pixels of the model's input per frame.
LENGTH = 8  # Frames of a sequence.
WINDOW = 0.85  # Its side, as a share of the labelled frame's.


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help=".tflite written by kseg.export")
    parser.add_argument("--videos", nargs="+", default=[], metavar="FILE")
    parser.add_argument("--seconds", type=float, default=6, help="of each video (default: 6)")
    parser.add_argument("--data", metavar="TFRECORDS", help="labelled frames")
    args = parser.parse_args()
    try:
        segmenter = Segmenter(args.model)
    except RunnerInputError as error:
        raise InputError(str(error)) from error
    head = " | ".join(f"{weight:g}" if weight else "off" for weight in WEIGHTS)
    if args.videos:
        print(f"| flicker, %: plain, motion-compensated | {head} |\n|---{'|---' * len(WEIGHTS)}|")
    for path in args.videos:
        changes = video_changes(path, segmenter, args.seconds)
        cells = [f"{100 * c.flicker:.2f}, {100 * c.motion_compensated:.2f}" for c in changes]
        print(f"| {Path(path).name} | {' | '.join(cells)} |", flush=True)
    if args.data:
        print(f"\n| mean IoU, drivable IoU, % | {head} |\n|---{'|---' * len(WEIGHTS)}|")
        labels = read_manifest(args.data).labels
        for speed in SPEEDS:
            scores = [compute_scores(c, labels) for c in moving(args.data, segmenter, speed)]
            cells = [f"{100 * s['mean_iou']:.1f}, {100 * s['drivable_iou']:.1f}" for s in scores]
            print(f"| {speed} pixels per frame | {' | '.join(cells)} |", flush=True)


def video_changes(path, segmenter, seconds):
    """Flicker of a video's class maps, a Change for each of WEIGHTS."""
    try:
        video = VideoFile(path)
    except VideoFileError as error:
        raise InputError(f"{path}: {error}") from error
    flicker, smoothings = Flicker(), new_smoothings(segmenter)
    while video.grab() and video.time_s < seconds:
        frame = video.retrieve()
        if frame is not None:
            flicker.add(frame, smoothed(segmenter(frame), smoothings))
    video.release()
    return flicker.summary()


def moving(data, segmenter, speed):
    """Confusion matrices of the last frames of all sequences, one for each of WEIGHTS."""
    manifest, size = read_manifest(data), tuple(segmenter.contract["input_size"])
    if manifest.size is None:
        raise InputError(f"{data}: frames differ in size; build it with --size")
    config, classes = replace(Config(), data=data, size=manifest.size), len(manifest.labels.names)
    totals = np.zeros((len(WEIGHTS), classes, classes), np.int64)
    for example in pipeline.labelled_frames(config, "val").unbatch().as_numpy_iterator():
        smoothings = new_smoothings(segmenter)
        for number in range(LENGTH):
            image, mask = (
                window(example[name].astype(np.uint8), size, number * speed)
                for name in ("image", "mask")
            )
            maps = smoothed(segmenter(image), smoothings)
        totals += [confusion_matrix(mask, each, classes) for each in maps]
    return totals


def window(array, size, offset):
    """The window of a frame or mask, at its bottom, `offset` pixels of `size` from the left."""
    height, width = (round(WINDOW * side) for side in array.shape[:2])
    left = round(offset * width / size[1])
    assert left + width <= array.shape[1], "the window leaves the frame"
    cut = np.ascontiguousarray(array[-height:, left : left + width])
    resize = preprocess.resize_mask if cut.ndim == 2 else preprocess.resize_image
    return resize(cut, size)


def new_smoothings(segmenter):
    ids = [each["id"] for each in segmenter.contract["labels"]["classes"]]
    return [Smoothing(weight, ids) if weight else None for weight in WEIGHTS]


def smoothed(class_map, smoothings):
    """The class map by each smoothing. The runner smooths before it enlarges, this does after."""
    return [each(class_map.copy()) if each else class_map for each in smoothings]


if __name__ == "__main__":
    sys.exit(run(main))
