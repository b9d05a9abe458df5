"""python -m kseg.attention: where a SegFormer looks, as images, an interactive page or a video."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from kseg import image_file, published_models
from kseg.errors import InputError, run, user_path
from kseg.visualize.images import read_image, write_image

SECONDS = 4.0
EXAMPLES = """examples:
  python -m kseg.attention runs/segformer street.jpg
  python -m kseg.attention runs/segformer street.jpg --point 480 400 --size 288 512
  python -m kseg.attention runs/segformer drive.mp4 --frame 50
  python -m kseg.attention runs/segformer drive.mp4 --video --start 2 --seconds 4

For an image, or one frame of a video, writes
  OUT/NAME.attention.html       a page: click on the image, or move the point with the arrow keys
  OUT/NAME.attention.png        every stage and head at the query point
  OUT/NAME.attention-mean.png   the same, averaged over all queries of the image
  OUT/NAME.patches.png          the overlapping patches of every stage
With --video, writes OUT/NAME.attention.mp4: every frame, at the same query point. Existing files of
these names are replaced.
"""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m kseg.attention",
        description="Shows where the attention heads of a SegFormer look.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "run", metavar="RUN", help="run folder, or published model, that is a SegFormer"
    )
    parser.add_argument("input", metavar="INPUT", help="image or video")
    parser.add_argument(
        "--point",
        type=float,
        nargs=2,
        metavar=("X", "Y"),
        help="query point in pixels of INPUT (default: centred, three quarters down)",
    )
    parser.add_argument(
        "--block",
        type=int,
        metavar="N",
        help="block index in every stage, 1-based (default: the last)",
    )
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        metavar=("H", "W"),
        help="height and width of the model's input (default: those of the run)",
    )
    parser.add_argument("--out", metavar="DIR", help="output folder (default: RUN/attention)")
    of_videos = parser.add_argument_group("videos")
    of_videos.add_argument(
        "--video", action="store_true", help="draw every frame and write a video"
    )
    of_videos.add_argument(
        "--frame", type=int, metavar="N", help="frame to draw, 0-based (default: 0)"
    )
    of_videos.add_argument(
        "--start", type=float, metavar="S", help="with --video: start, in seconds (default: 0)"
    )
    of_videos.add_argument(
        "--seconds",
        type=float,
        metavar="S",
        help=f"with --video: duration, in seconds (default: {SECONDS:g})",
    )
    return attention(parser.parse_args(argv))


def attention(args: argparse.Namespace) -> int:
    """Runs the command. Returns its exit code."""
    source = Path(args.input)
    if not source.is_file():
        raise InputError(f"{source}: no such file; expected an image or a video")
    is_image = source.suffix.lower() in image_file.SUFFIXES
    _check_flags(args, source, is_image)
    from kseg import run_folder, trained_model

    folder = published_models.find_run(args.run)
    config, _ = run_folder.read_run(folder)
    if not config.model.startswith("segformer"):
        raise InputError(
            f"{args.run}: model {config.model} has no attention; use a run of a SegFormer"
        )
    from kseg.visualize import video

    clip = frame = None
    if args.video:
        clip = video.open_clip(source, args.start or 0.0, args.seconds or SECONDS)
        size = clip.video.size
    else:
        frame = _read_frame(source, is_image, args.frame or 0)
        size = frame.shape[:2]
    point = _frame_point(args.point, size, source)
    model, config, labels = trained_model.load(folder, tuple(args.size) if args.size else None)
    point = model_point(point, size, config)
    out = Path(args.out or published_models.output_folder(folder) / "attention")
    with user_path(out):
        out.mkdir(parents=True, exist_ok=True)
    if clip:
        _write_video(clip, model, config, point, args.block, out)
    else:
        _write_frame(frame, source, model, config, labels, point, args.block, out)
    return 0


def _check_flags(args, source, is_image):
    flags = [f"--{name}" for name in ("video", "frame", "start", "seconds")]
    flags = [flag for flag in flags if getattr(args, flag[2:]) not in (None, False)]
    if is_image and flags:
        raise InputError(
            f"{source}: is an image, but {flags[0]} applies to videos; remove the flag"
        )
    if args.video and args.frame is not None:
        raise InputError("--frame and --video: use one of them; --start is the start of a video")
    if not args.video and (args.start is not None or args.seconds is not None):
        raise InputError("--start and --seconds require --video; --frame selects a single frame")
    if args.size and min(args.size) < 32:
        raise InputError(f"--size {args.size[0]} {args.size[1]}: expected 32 x 32 or more")


def _read_frame(source, is_image, number):
    from kseg.visualize import video

    if is_image:
        return read_image(source)
    if number < 0:
        raise InputError(f"--frame {number}: the first frame is 0")
    for count, frame in enumerate(video.frames(video.open_clip(source))):
        if count == number:
            return frame
    raise InputError(f"{source}: has {count + 1} frames, --frame {number} is past the last one")


def _frame_point(x_y, size, source):
    """Returns the query point (y, x) in the frame."""
    height, width = size
    x, y = x_y or (width / 2, height * 3 / 4)
    if not (0 <= x < width and 0 <= y < height):
        raise InputError(f"--point {x:g} {y:g}: {source.name} is {width} wide and {height} high")
    return y, x


def model_point(point, size, config):
    """Maps a point (y, x) of the frame to the model's input."""
    from kseg import preprocess

    place = preprocess.placement(size, config.size, config.fit)
    y = point[0] * place.height / size[0] + place.top
    x = point[1] * place.width / size[1] + place.left
    if not (0 <= y < config.size[0] and 0 <= x < config.size[1]):
        raise InputError(
            f"--point {point[1]:g} {point[0]:g}: was cropped away (fit 'crop'); choose another"
        )
    return y, x


def _write_frame(frame, source, model, config, labels, point, block, out):
    from kseg import files, preprocess
    from kseg.attention import attention_page, figures, stage_attention

    image = preprocess.fit_image(frame, config.size, config.fit)
    stages = stage_attention.extract_stage_attention(model, image, block)
    for name, figure in (
        ("attention", figures.draw_heads(image, stages, point, source.name)),
        ("attention-mean", figures.draw_heads(image, stages, None, source.name)),
        ("patches", figures.draw_patches(image, stages, point)),
    ):
        write_image(out / f"{source.stem}.{name}.png", figure)
    text = attention_page.page(
        image,
        stages,
        point,
        labels=labels,
        class_map=stage_attention.predict_class_map(model, image),
        name=source.name,
    )
    files.write_text(out / f"{source.stem}.attention.html", text)
    print(f"{out / source.stem}.attention.html, and three images beside it")


def _write_video(clip, model, config, point, block, out):
    from rich.progress import track

    from kseg import preprocess
    from kseg.attention import figures, stage_attention
    from kseg.visualize import video

    path = out / f"{clip.source.stem}.attention.mp4"
    if path.resolve() == clip.source.resolve():
        raise InputError(f"{path}: the output would replace the input; choose another --out")
    with video.Mp4Writer(path, clip.rate) as movie:
        frames = video.timed_frames(clip)
        for time_s, frame in track(frames, clip.source.name, clip.frame_count):
            image = preprocess.fit_image(frame, config.size, config.fit)
            stages = stage_attention.extract_stage_attention(model, image, block)
            movie.add(figures.draw_heads(image, stages, point, clip.source.name), time_s)
    print(path)


if __name__ == "__main__":
    sys.exit(run(main))
