"""python -m kseg.predict: class maps over an image, a folder of images or a video."""

import argparse
import contextlib
import json
import sys
from pathlib import Path

from kseg.errors import InputError, run

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
BATCH = 8
EXAMPLES = """examples:
  python -m kseg.predict runs/demo street.jpg
  python -m kseg.predict runs/demo folder/ --out overlays --save-masks --confidence
  python -m kseg.predict runs/demo drive.mp4 --gif --start 2 --seconds 4
  python -m kseg.predict runs/deeplab drive.mp4 --compare runs/segformer runs/unet --flicker

Images become OUT/NAME.png, a video OUT/NAME.mp4; --save-masks adds OUT/masks/NAME.png (class ids of
the frame's own size; for a video one per frame). With --compare there is a panel for each run, and
masks and flicker are of all of them: OUT/masks/RUN/. Existing files of these names are replaced.

--flicker says which share of pixels changes its class from one frame to the next, as it is and with
the motion taken out (optical flow), and writes OUT/NAME.flicker.json with both for every frame.
"""


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m kseg.predict",
        description="Draws a run's class maps over an image, a folder of images or a video.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN", help="run folder made by kseg.train")
    parser.add_argument("input", metavar="INPUT", help="image, folder of images, or video")
    parser.add_argument("--compare", metavar="RUN", nargs="+", default=[], help="runs beside it")
    parser.add_argument("--out", metavar="DIR", help="default: RUN/predictions")
    parser.add_argument("--save-masks", action="store_true", help="write the class ids as PNG too")
    parser.add_argument(
        "--confidence", action="store_true", help="draw how sure the model is (softmax) below"
    )
    of_videos = parser.add_argument_group("videos")
    of_videos.add_argument("--gif", action="store_true", help="write OUT/NAME.gif too")
    of_videos.add_argument(
        "--gif-width", type=int, default=320, metavar="W", help="of a panel (default: 320)"
    )
    of_videos.add_argument("--flicker", action="store_true", help="measure how stable labels are")
    of_videos.add_argument("--start", type=float, metavar="S", help="begin at this second")
    of_videos.add_argument("--seconds", type=float, metavar="S", help="this long at most")
    return predict(parser.parse_args(argv))


def predict(args):
    """Runs the command. Returns its exit code."""
    from kseg import run_folder
    from kseg.visualize import video

    runs = [args.run, *args.compare]
    for path in runs:
        run_folder.read_run(path)  # Fails on bad input before the seconds of building a model.
    source = Path(args.input)
    if not source.exists():
        raise InputError(f"{source}: no such file or folder")
    images = _images(source)
    _check_flags(args, source, bool(images))
    clip = None if images else video.open_clip(source, args.start or 0.0, args.seconds)
    out = Path(args.out) if args.out else Path(args.run) / "predictions"
    suffixes = [".png"] if images else [".mp4", *([".gif"] if args.gif else [])]
    _refuse_overwriting(images or [source], out, suffixes)
    segment = _segmenters(runs, args.confidence)
    out.mkdir(parents=True, exist_ok=True)
    if images:
        _predict_images(images, segment, out, args)
    else:
        _predict_video(clip, segment, out, args)
    return 0


def _check_flags(args, source, are_images):
    wanted = [f"--{n}" for n in ("gif", "flicker", "start", "seconds") if getattr(args, n)]
    if are_images and wanted:
        raise InputError(f"{source}: {wanted[0]} is for videos; leave it out")
    if args.gif_width < 16:
        raise InputError(f"--gif-width {args.gif_width}: expected 16 or more")


def _refuse_overwriting(inputs, out, suffixes):
    """Raises InputError when a picture would replace an input or another picture."""
    sources = {path.resolve(): path for path in inputs}
    targets = {}
    for path in inputs:
        for suffix in suffixes:
            target = (out / f"{path.stem}{suffix}").resolve()
            if target in sources:
                raise InputError(
                    f"{target}: would be replaced by its overlay; choose another --out"
                )
            if target in targets:
                raise InputError(
                    f"{path}: has the same name as {targets[target]}; rename one of them"
                )
            targets[target] = path


def _images(source):
    """Returns the image files meant by `source`, an empty list when it is a video."""
    if source.is_dir():
        images = sorted(p for p in source.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
        if not images:
            raise InputError(f"{source}: no images ({', '.join(IMAGE_SUFFIXES)}) in it")
        return images
    return [source] if source.suffix.lower() in IMAGE_SUFFIXES else []


def _segmenters(runs, confidence):
    """Returns a function: list of frames -> for each frame, the Answers of all runs."""
    from kseg.evaluation import predictor

    names = [Path(path).name for path in runs]
    if len(set(names)) < len(names):
        names = [Path(path).as_posix().strip("/").replace("/", "-") for path in runs]
    if len(set(names)) < len(names):
        raise InputError(f"--compare: one run named twice among {', '.join(runs)}")
    functions = [
        predictor.load(path, name, confidence=confidence)
        for path, name in zip(runs, names, strict=True)
    ]
    return lambda frames: list(zip(*(function(frames) for function in functions), strict=True))


def _predict_images(images, segment, out, args):
    from kseg.evaluation.predictor import batched
    from kseg.visualize import overlay, panels

    with _progress() as progress:
        for batch in batched(progress.track(images, description="predicting"), BATCH):
            frames = [_read_image(path) for path in batch]
            for path, frame, answers in zip(batch, frames, segment(frames), strict=True):
                overlay.write(out / f"{path.stem}.png", panels.picture(frame, answers))
                if args.save_masks:
                    _write_masks(out, path.stem, answers)
    print(f"{len(images)} overlays in {out}")


def _read_image(path):
    import cv2

    frame = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if frame is None:
        raise InputError(f"{path}: cannot be decoded as an image; remove or replace it")
    return frame


def _predict_video(clip, segment, out, args):
    from kseg.evaluation.flicker import Flicker
    from kseg.evaluation.predictor import batched
    from kseg.visualize import panels, video

    name, count, answers = clip.source.stem, 0, ()
    flicker = Flicker() if args.flicker else None
    with contextlib.ExitStack() as files:
        movie = files.enter_context(video.Mp4(out / f"{name}.mp4", clip.rate))
        gif = files.enter_context(video.Gif(out / f"{name}.gif", clip.rate)) if args.gif else None
        progress = files.enter_context(_progress())
        shown = progress.track(video.frames(clip), clip.count, description=clip.source.name)
        for batch in batched(shown, BATCH):
            for frame, answers in zip(batch, segment(batch), strict=True):
                movie.add(panels.picture(frame, answers))
                if gif:
                    small = gif.takes() and panels.picture(frame, answers, args.gif_width)
                    gif.add(small)
                if flicker:
                    flicker.add(frame, [answer.class_map for answer in answers])
                if args.save_masks:
                    _write_masks(out, f"{name}-{count:06d}", answers)
                count += 1
    print(f"{count} frames in {out / name}.mp4" + f" and {name}.gif" * args.gif)
    if flicker:
        _report_flicker(flicker, clip, [answer.name for answer in answers], out)


def _write_masks(out, name, answers):
    from kseg.visualize import overlay

    for answer in answers:
        folder = out / "masks" / (answer.name if len(answers) > 1 else "")
        folder.mkdir(parents=True, exist_ok=True)
        overlay.write(folder / f"{name}.png", answer.class_map)


def _report_flicker(flicker, clip, names, out):
    """Prints the means, and writes them and every frame's numbers beside the video."""
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
            f"{mean.motion_compensated:.2%} with motion taken out "
            f"(motion known for {mean.traced:.0%})"
        )
    if not runs:
        print("flicker: nothing to measure in a single frame")
    told = {"video": clip.source.name, "frames_per_second": clip.rate, "runs": runs}
    path = out / f"{clip.source.stem}.flicker.json"
    files.write_text(path, json.dumps(told, indent=1) + "\n")


def _number(value):
    """JSON has no nan."""
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
