"""python -m kseg.predict: class maps over an image, a folder of images or a video."""

import argparse
import sys
from pathlib import Path

from kseg.errors import InputError, run

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
EXAMPLES = """examples:
  python -m kseg.predict runs/demo street.jpg
  python -m kseg.predict runs/demo folder/ --out overlays --save-masks
  python -m kseg.predict runs/demo drive.mp4

Images become OUT/NAME.png, a video OUT/NAME.mp4; --save-masks adds OUT/masks/NAME.png (class ids of
the frame's own size; for a video one per frame). Existing files of these names are replaced.
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
    parser.add_argument("--out", metavar="DIR", help="default: RUN/predictions")
    parser.add_argument("--save-masks", action="store_true", help="write the class ids as PNG too")
    return predict(parser.parse_args(argv))


def predict(args):
    """Runs the command. Returns its exit code."""
    from kseg import checkpoints

    checkpoints.read_run(args.run)  # Fails on bad input before the seconds of building a model.
    source = Path(args.input)
    if not source.exists():
        raise InputError(f"{source}: no such file or folder")
    images = _images(source)
    video = None if images else _open_video(source)
    model, config, labels = checkpoints.load(args.run)
    out = Path(args.out) if args.out else Path(args.run) / "predictions"
    _refuse_overwriting(images or [source], out, ".png" if images else ".mp4")
    if args.save_masks:
        (out / "masks").mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    segment = _segmenter(model, config)
    if images:
        _predict_images(images, segment, labels, out, args.save_masks)
    else:
        _predict_video(source, video, segment, labels, out, args.save_masks)
    return 0


def _refuse_overwriting(inputs, out, suffix):
    """Raises InputError when a picture would replace an input or another picture."""
    sources = {path.resolve(): path for path in inputs}
    targets = {}
    for path in inputs:
        target = (out / f"{path.stem}{suffix}").resolve()
        if target in sources:
            raise InputError(f"{target}: would be replaced by its overlay; choose another --out")
        if target in targets:
            raise InputError(f"{path}: has the same name as {targets[target]}; rename one of them")
        targets[target] = path


def _images(source):
    """Returns the image files meant by `source`, an empty list when it is a video."""
    if source.is_dir():
        images = sorted(p for p in source.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
        if not images:
            raise InputError(f"{source}: no images ({', '.join(IMAGE_SUFFIXES)}) in it")
        return images
    return [source] if source.suffix.lower() in IMAGE_SUFFIXES else []


def _open_video(source):
    import cv2

    video = cv2.VideoCapture(str(source))
    if not video.isOpened():
        raise InputError(f"{source}: not an image and cannot be opened as a video; is it damaged?")
    return video


def _segmenter(model, config):
    """Returns a function (h, w, 3) uint8 RGB frame -> (h, w) uint8 class map."""
    import numpy as np

    from kseg import preprocess

    def segment(frame):
        image = preprocess.fit_image(frame, config.size, config.fit)
        logits = model.predict_on_batch(image[None].astype(np.float32))[0]
        class_map = np.argmax(logits, axis=-1).astype(np.uint8)
        return preprocess.unfit_class_map(class_map, frame.shape[:2], config.fit)

    return segment


def _predict_images(images, segment, labels, out, save_masks):
    import cv2
    from rich.progress import track

    from kseg import overlay

    for path in track(images, "predicting"):
        frame = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
        if frame is None:
            raise InputError(f"{path}: cannot be decoded as an image; remove or replace it")
        class_map = segment(frame)
        picture = overlay.draw_legend(overlay.overlay(frame, class_map, labels), labels)
        overlay.write(out / f"{path.stem}.png", picture)
        if save_masks:
            overlay.write(out / "masks" / f"{path.stem}.png", class_map)
    print(f"{len(images)} overlays in {out}")


def _predict_video(source, video, segment, labels, out, save_masks):
    import cv2

    from kseg import overlay

    rate = video.get(cv2.CAP_PROP_FPS) or 25
    target, partial = out / f"{source.stem}.mp4", out / f"partial-{source.stem}.mp4"
    writer, count = None, 0
    try:
        for frame in _frames(source, video):
            class_map = segment(frame)
            picture = overlay.draw_legend(overlay.overlay(frame, class_map, labels), labels)
            if writer is None:
                writer = _open_writer(partial, rate, frame)
            writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
            if save_masks:
                overlay.write(out / "masks" / f"{source.stem}-{count:06d}.png", class_map)
            count += 1
        if writer is None:
            raise InputError(f"{source}: opened as a video but not one frame can be read")
        writer.release()
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)  # There only when something went wrong.
    print(f"{count} frames in {target}")


def _open_writer(path, rate, frame):
    import cv2

    size = (frame.shape[1], frame.shape[0])
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), rate, size)
    if not writer.isOpened():
        raise InputError(f"{path}: video cannot be written there; choose another --out")
    return writer


def _frames(source, video):
    """Yields RGB frames of an open video under a progress bar."""
    import cv2
    from rich.progress import Progress

    with Progress() as progress:
        task = progress.add_task(
            source.name, total=int(video.get(cv2.CAP_PROP_FRAME_COUNT)) or None
        )
        while True:
            ok, frame = video.read()
            if not ok:
                return
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
            progress.advance(task)


if __name__ == "__main__":
    sys.exit(run(main))
