"""python -m kseg.attention: where a SegFormer looks, on an image, a page to click on, a video."""

import argparse
import sys
from pathlib import Path

from kseg.errors import InputError, run

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
SECONDS = 4.0
EXAMPLES = """examples:
  python -m kseg.attention runs/segformer street.jpg
  python -m kseg.attention runs/segformer street.jpg --point 480 400 --size 288 512
  python -m kseg.attention runs/segformer drive.mp4 --frame 50
  python -m kseg.attention runs/segformer drive.mp4 --video --start 2 --seconds 4

Of an image, or one frame of a video, writes
  OUT/NAME.attention.html       a page: click on the image, or move the point by the arrow keys
  OUT/NAME.attention.png        every stage and head at the query point
  OUT/NAME.attention-mean.png   the same, averaged over all queries of the image
  OUT/NAME.patches.png          the overlapping patches of every stage
and with --video OUT/NAME.attention.mp4, every frame at the same query point. Existing files of
these names are replaced.
"""


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m kseg.attention",
        description="Shows where the attention heads of a SegFormer look.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN", help="run folder of a SegFormer")
    parser.add_argument("input", metavar="INPUT", help="image or video")
    parser.add_argument(
        "--point",
        type=float,
        nargs=2,
        metavar=("X", "Y"),
        help="the query, in pixels of INPUT (default: the middle, three quarters down)",
    )
    parser.add_argument(
        "--block", type=int, metavar="N", help="of every stage, from 1 (default: each one's last)"
    )
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        metavar=("H", "W"),
        help="of the model's input, such as one of INPUT's shape (default: the run's)",
    )
    parser.add_argument("--out", metavar="DIR", help="default: RUN/attention")
    of_videos = parser.add_argument_group("videos")
    of_videos.add_argument("--video", action="store_true", help="every frame, as a video")
    of_videos.add_argument("--frame", type=int, metavar="N", help="this one, from 0 (default: 0)")
    of_videos.add_argument("--start", type=float, metavar="S", help="with --video: from here on")
    of_videos.add_argument(
        "--seconds", type=float, metavar="S", help=f"with --video: so long (default: {SECONDS:g})"
    )
    return attention(parser.parse_args(argv))


def attention(args):
    """Runs the command. Returns its exit code."""
    source = Path(args.input)
    if not source.is_file():
        raise InputError(f"{source}: no such file; expected an image or a video")
    is_image = source.suffix.lower() in IMAGE_SUFFIXES
    _check_flags(args, source, is_image)
    from kseg import run_folder, trained_model

    config, _ = run_folder.read_run(args.run)
    if not config.model.startswith("segformer"):
        raise InputError(
            f"{args.run}: is a {config.model}, which has no attention; give a run of SegFormer"
        )
    from kseg.visualize import video

    clip = None
    if args.video:
        clip = video.open_clip(source, args.start or 0.0, args.seconds or SECONDS)
    frame = None if clip else _read_frame(source, is_image, args.frame or 0)
    size = frame.shape[:2] if clip is None else _clip_size(clip)
    point = _frame_point(args.point, size, source)
    model, config, labels = trained_model.load(args.run, tuple(args.size) if args.size else None)
    point = _model_point(point, size, config)
    out = Path(args.out) if args.out else Path(args.run) / "attention"
    out.mkdir(parents=True, exist_ok=True)
    if clip:
        _write_video(clip, model, config, point, args.block, out)
    else:
        _write_frame(frame, source, model, config, labels, point, args.block, out)
    return 0


def _check_flags(args, source, is_image):
    flags = [f"--{name}" for name in ("video", "frame", "start", "seconds") if _given(args, name)]
    if is_image and flags:
        raise InputError(f"{source}: is an image and {flags[0]} is for videos; leave it out")
    if args.video and args.frame is not None:
        raise InputError("--frame and --video: choose one; --video begins at --start")
    if not args.video and (args.start is not None or args.seconds is not None):
        raise InputError("--start and --seconds go with --video; one frame is chosen by --frame")
    if args.size and min(args.size) < 32:
        raise InputError(f"--size {args.size[0]} {args.size[1]}: expected 32 x 32 or more")


def _given(args, name):
    return getattr(args, name) not in (None, False)


def _read_frame(source, is_image, number):
    import cv2

    from kseg.visualize import video

    if not is_image:
        if number < 0:
            raise InputError(f"--frame {number}: the first is 0")
        for count, frame in enumerate(video.frames(video.open_clip(source))):
            if count == number:
                return frame
        raise InputError(f"{source}: has {count + 1} frames, --frame {number} is past them")
    frame = cv2.imread(str(source), cv2.IMREAD_COLOR_RGB)
    if frame is None:
        raise InputError(f"{source}: cannot be decoded as an image; remove or replace it")
    return frame


def _clip_size(clip):
    import cv2

    properties = (cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH)
    return tuple(int(clip.capture.get(p)) for p in properties)


def _frame_point(wanted, size, source):
    """Returns the query point (y, x) in the frame."""
    height, width = size
    x, y = wanted or (width / 2, height * 3 / 4)
    if not (0 <= x < width and 0 <= y < height):
        raise InputError(f"--point {x:g} {y:g}: {source.name} is {width} wide and {height} high")
    return y, x


def _model_point(point, size, config):
    """Takes a point (y, x) of the frame into the model's input."""
    from kseg import preprocess

    place = preprocess.placement(size, config.size, config.fit)
    y = point[0] * place.height / size[0] + place.top
    x = point[1] * place.width / size[1] + place.left
    if not (0 <= y < config.size[0] and 0 <= x < config.size[1]):
        raise InputError(
            f"--point {point[1]:g} {point[0]:g}: was cut away by fit 'crop'; choose another"
        )
    return y, x


def _write_frame(frame, source, model, config, labels, point, block, out):
    from kseg import files, preprocess
    from kseg.attention import attention_page, figures, stage_attention
    from kseg.visualize import overlay

    image = preprocess.fit_image(frame, config.size, config.fit)
    seen = stage_attention.look(model, image, block)
    for name, picture in (
        ("attention", figures.heads(image, seen, point, source.name)),
        ("attention-mean", figures.heads(image, seen, None, source.name)),
        ("patches", figures.patches(image, seen, point)),
    ):
        overlay.write(out / f"{source.stem}.{name}.png", picture)
    text = attention_page.page(
        image,
        seen,
        point,
        labels=labels,
        class_map=stage_attention.class_map(model, image),
        name=source.name,
    )
    files.write_text(out / f"{source.stem}.attention.html", text)
    print(f"{out / source.stem}.attention.html, and three pictures beside it")


def _write_video(clip, model, config, point, block, out):
    from rich.progress import track

    from kseg import preprocess
    from kseg.attention import figures, stage_attention
    from kseg.visualize import video

    path = out / f"{clip.source.stem}.attention.mp4"
    if path.resolve() == clip.source.resolve():
        raise InputError(f"{path}: would be replaced; choose another --out")
    with video.Mp4(path, clip.rate) as movie:
        for frame in track(video.frames(clip), clip.source.name, clip.count):
            image = preprocess.fit_image(frame, config.size, config.fit)
            seen = stage_attention.look(model, image, block)
            movie.add(figures.heads(image, seen, point, clip.source.name))
    print(path)


if __name__ == "__main__":
    sys.exit(run(main))
