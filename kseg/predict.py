"""python -m kseg.predict: draws predictions over an image, a folder of images or a video."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from kseg import image_file, published_models
from kseg.errors import InputError, run, user_path
from kseg.visualize.images import read_image, write_image

BATCH_SIZE = 8
EXAMPLES = """examples:
  python -m kseg.predict street.jpg                         by a model that comes with kseg
  python -m kseg.predict runs/demo street.jpg
  python -m kseg.predict runs/demo folder/ --out overlays --save-masks --confidence
  python -m kseg.predict runs/demo drive.mp4 --gif --start 2 --seconds 4
  python -m kseg.predict runs/deeplab drive.mp4 --compare runs/segformer lanes --flicker
  python -m kseg.predict /dev/video0 --seconds 20 --out camera

Without RUN, the published model `lanes-base` predicts: direct and alternative lanes, as in BDD100K.
`kseg published` lists all with their accuracy; --model NAME or NAME in place of RUN chooses one.
Its default output folder is ./predictions.

An image becomes OUT/NAME.png, a video OUT/NAME.mp4. --save-masks adds OUT/masks/NAME.png with the
class ids in the size of the frame, for videos one file per frame. With --compare every run gets a
panel of its own, and masks go to OUT/masks/RUN/. Existing files of these names are replaced.

--flicker reports the share of pixels that change class from one frame to the next, both plain and
with motion compensated by optical flow, and writes both for every frame to OUT/NAME.flicker.json.

A video's frames keep their times, and a video that was filmed upright or upside down is turned as
the file says.

Images and frames that cannot be decoded are skipped, listed and counted. Hidden files of a folder
(._street.jpg) are ignored.

exit codes: 0 done, perhaps with images skipped; 2 bad input, or no image could be decoded
"""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m kseg.predict",
        description="Draws the predictions of a run over an image, a folder of images or a video.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN", nargs="?", help=published_models.RUN_HELP)
    parser.add_argument("input", metavar="INPUT", help="image, folder of images, video or camera")
    parser.add_argument(
        "--model",
        metavar="NAME",
        help=f"the same as RUN (default: {published_models.DEFAULT})",
    )
    parser.add_argument(
        "--compare", metavar="RUN", nargs="+", default=[], help="other runs, drawn side by side"
    )
    parser.add_argument("--out", metavar="DIR", help="output folder (default: RUN/predictions)")
    parser.add_argument(
        "--save-masks", action="store_true", help="also write the class ids as PNG files"
    )
    parser.add_argument(
        "--confidence", action="store_true", help="also draw softmax confidence, below each panel"
    )
    video = parser.add_argument_group("videos")
    video.add_argument("--gif", action="store_true", help="also write OUT/NAME.gif")
    video.add_argument(
        "--gif-width",
        type=int,
        default=320,
        metavar="W",
        help="width of each panel of the GIF, in pixels (default: 320)",
    )
    video.add_argument(
        "--flicker", action="store_true", help="measure how many pixels change class per frame"
    )
    video.add_argument(
        "--start", type=float, metavar="S", help="start at second S (default: at the beginning)"
    )
    video.add_argument(
        "--seconds", type=float, metavar="S", help="stop after S seconds (default: at the end)"
    )
    # Intermixed: an optional RUN may be followed by flags, and then INPUT.
    return predict(parser.parse_intermixed_args(argv))


def predict(args: argparse.Namespace) -> int:
    """Runs the command. Returns its exit code."""
    from kseg import run_folder
    from kseg.visualize import video

    if args.run and args.model:
        raise InputError(f"--model {args.model}: RUN is {args.run}; give only one of the two")
    first = args.run or args.model or published_models.DEFAULT
    runs = [published_models.find_run(run) for run in (first, *args.compare)]
    for path in runs:
        run_folder.read_run(path)  # Bad input fails here, before a model is built.
    source = Path(args.input)
    if not source.exists():
        raise InputError(f"{source}: no such file or folder")
    images = _images(source)
    _check_flags(args, source, bool(images))
    clip = None if images else video.open_clip(source, args.start or 0.0, args.seconds)
    out = Path(args.out or published_models.output_folder(runs[0]) / "predictions")
    suffixes = [".png"] if images else [".mp4", *([".gif"] if args.gif else [])]
    _refuse_overwriting(images or [source], out, suffixes)
    if args.save_masks:
        _refuse_masks_over(images or [source], out)
    from kseg.runtime import backend_devices

    for folder in filter(published_models.is_published, runs):
        licence = published_models.read_card(folder.name)["licence"]
        print(f"model: {folder.name}, which comes with kseg; {licence}")
    backend_devices.announce("prediction")
    predict_all = _load_predictors(runs, args.confidence)
    with user_path(out):
        out.mkdir(parents=True, exist_ok=True)
    if images:
        _predict_images(images, predict_all, out, args)
    else:
        _predict_video(clip, predict_all, out, args)
    return 0


def _check_flags(args, source, are_images):
    given = [f"--{n}" for n in ("gif", "flicker", "start", "seconds") if getattr(args, n)]
    if are_images and given:
        raise InputError(f"{source}: {given[0]} is for videos; leave it out")
    if source.is_char_device() and args.seconds is None:
        raise InputError(f"{source}: a camera has no end; say how long with --seconds")
    if args.gif_width < 16:
        raise InputError(f"--gif-width {args.gif_width}: expected 16 or more")


def _refuse_overwriting(inputs, out, suffixes):
    """Raises InputError when an output would replace an input or another output."""
    sources = {path.resolve(): path for path in inputs}
    targets = {}
    for path in inputs:
        for suffix in suffixes:
            target = (out / f"{path.stem}{suffix}").resolve()
            if target in sources:
                raise InputError(
                    f"{target}: is an input and would be overwritten; choose another --out"
                )
            if target in targets:
                raise InputError(
                    f"{path}: has the same output as {targets[target]}; rename one of them"
                )
            targets[target] = path


def _refuse_masks_over(inputs, out):
    """Raises InputError when inputs lie in the folder of the masks, which may replace them."""
    masks = (out / "masks").resolve()
    for path in inputs:
        if path.resolve().is_relative_to(masks):
            raise InputError(
                f"{path}: is an input, and {masks} is the folder for masks, which could overwrite "
                "it; choose another --out"
            )


def _images(source):
    """Returns the image files of `source`, or an empty list when it is a video."""
    if source.is_dir():
        if (source / "config.json").is_file():
            raise InputError(f"{source}: is a run; also name an image, a folder or a video")
        images = sorted(p for p in source.iterdir() if image_file.is_image_name(p.name))
        if not images:
            raise InputError(f"{source}: has no images ({', '.join(image_file.SUFFIXES)})")
        return images
    return [source] if source.suffix.lower() in image_file.SUFFIXES else []


def _load_predictors(runs, confidence):
    """Returns a function: list of frames -> for each frame, the Predictions of all runs."""
    from kseg.evaluation import predictor

    names = [Path(path).name for path in runs]
    if len(set(names)) < len(names):
        names = [Path(path).as_posix().strip("/").replace("/", "-") for path in runs]
    if len(set(names)) < len(names):
        raise InputError(f"--compare: a run is named twice: {', '.join(map(str, runs))}")
    predictors = [
        predictor.load_predictor(path, name, confidence=confidence)
        for path, name in zip(runs, names, strict=True)
    ]
    return lambda frames: list(zip(*(predict(frames) for predict in predictors), strict=True))


def _predict_images(images, predict_all, out, args):
    """Draws all images but those that cannot be decoded, which it lists and counts."""
    from kseg.evaluation.predictor import batched
    from kseg.visualize import panels

    skipped = []
    with _progress() as progress:
        readable = _readable(progress.track(images, description="predicting"), skipped)
        for batch in batched(readable, BATCH_SIZE):
            predictions_by_frame = predict_all([frame for _, frame in batch])
            for (path, frame), predictions in zip(batch, predictions_by_frame, strict=True):
                write_image(out / f"{path.stem}.png", panels.draw_panels(frame, predictions))
                if args.save_masks:
                    _write_masks(out, path.stem, predictions)
    if len(skipped) == len(images):
        raise InputError(f"{skipped[0]}" + f" (and {len(skipped) - 1} more)" * (len(skipped) > 1))
    for reason in skipped:
        print(f"skipped: {reason}", file=sys.stderr)
    drawn = len(images) - len(skipped)
    print(f"{drawn} overlays in {out}" + f", {len(skipped)} images skipped" * bool(skipped))


def _readable(paths, skipped):
    """Yields (path, frame) of the images that can be decoded; adds the others' reasons."""
    for path in paths:
        try:
            yield path, read_image(path)
        except InputError as error:
            skipped.append(str(error))


def _predict_video(clip, predict_all, out, args):
    from kseg.evaluation.flicker import Flicker
    from kseg.evaluation.predictor import batched
    from kseg.visualize import panels, video

    name, count, predictions = clip.source.stem, 0, ()
    flicker = Flicker() if args.flicker else None
    with contextlib.ExitStack() as files:
        movie = files.enter_context(video.Mp4Writer(out / f"{name}.mp4", clip.rate))
        gif = (
            files.enter_context(video.GifWriter(out / f"{name}.gif", clip.rate))
            if args.gif
            else None
        )
        progress = files.enter_context(_progress())
        frames = progress.track(
            video.timed_frames(clip), clip.frame_count, description=clip.source.name
        )
        for batch in batched(frames, BATCH_SIZE):
            predictions_by_frame = predict_all([frame for _, frame in batch])
            for (time_s, frame), predictions in zip(batch, predictions_by_frame, strict=True):
                movie.add(panels.draw_panels(frame, predictions), time_s)
                if gif:
                    small = gif.uses_next() and panels.draw_panels(
                        frame, predictions, args.gif_width
                    )
                    gif.add(small)
                if flicker:
                    flicker.add(frame, [prediction.class_map for prediction in predictions])
                if args.save_masks:
                    _write_masks(out, f"{name}-{count:06d}", predictions)
                count += 1
    print(f"{count} frames in {out / name}.mp4" + f" and {name}.gif" * args.gif)
    if flicker:
        _report_flicker(flicker, clip, [prediction.name for prediction in predictions], out)


def _write_masks(out, name, predictions):
    for prediction in predictions:
        folder = out / "masks" / (prediction.name if len(predictions) > 1 else "")
        with user_path(folder):
            folder.mkdir(parents=True, exist_ok=True)
        write_image(folder / f"{name}.png", prediction.class_map)


def _report_flicker(flicker, clip, names, out):
    """Prints the means, and writes them with the numbers of every frame next to the video."""
    from kseg import files

    runs = {}
    for number, (name, mean) in enumerate(zip(names, flicker.summary(), strict=False)):
        frames = [change[number] for change in flicker.changes]
        runs[name] = {
            **{key: _number(value) for key, value in mean._asdict().items()},
            "frames": [{k: _number(v) for k, v in change._asdict().items()} for change in frames],
        }
        print(
            f"{name}: {mean.flicker:.2%} of pixels change class per frame, "
            f"{mean.motion_compensated:.2%} with motion compensated "
            f"(motion known for {mean.traced:.0%})"
        )
    if not runs:
        print("flicker: a single frame has none")
    report = {"video": clip.source.name, "frames_per_second": clip.rate, "runs": runs}
    path = out / f"{clip.source.stem}.flicker.json"
    files.write_text(path, json.dumps(report, indent=1) + "\n")


def _number(value):
    """Rounds; None for nan, which JSON does not have."""
    return None if value != value else round(value, 6)


def _progress():
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    )


if __name__ == "__main__":
    sys.exit(run(main))
