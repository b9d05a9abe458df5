"""The flags of `kseg-run`: parsed, checked, and those of the camera as CameraOptions."""

import argparse
import math
from collections.abc import Sequence

from kseg_run.camera_capture import CameraOptions
from kseg_run.errors import InputError
from kseg_run.gpu_check import DEFAULT_RECHECK_S
from kseg_run.segmenter import DEVICES

EXAMPLES = """examples:
  kseg-run road.tflite street.jpg
  kseg-run road.tflite drive.mp4 --out overlays
  kseg-run road.tflite 0 --show                     the first camera
  kseg-run road.tflite csi:0 --device auto --no-overlays --json - --rows 0.6 0.8
  kseg-run road.onnx csi:0 --device auto            TensorRT or CUDA, by ONNX Runtime
  kseg-run road.tflite 0 --camera-size 1280x720 --camera-fps 30 --camera-format MJPG
  kseg-run road.tflite rtsp://10.0.0.7/stream --no-overlays --json -
  kseg-run road.tflite "v4l2src ! videoconvert ! video/x-raw, format=BGR ! appsink" --frames 300

From a checkout, without installing: python deploy/python/run.py instead of kseg-run.
Writes OUT/NAME.png or OUT/NAME.mp4. SIGINT (Ctrl-C) and SIGTERM end the run gracefully: the video
is completed and the summary is printed. A second signal ends it at once.
Exit codes: 0 done, or stopped by a signal or a key; 2 bad input, or no such device; 3 a camera or
a GPU was lost during the run, or 25 frames in a row could not be segmented (what was written until
then is kept); 130 or 143 after a second signal.
"""


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="kseg-run",
        description="Runs a kseg model on an image, a folder, a video or a camera.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="MODEL", help=".tflite or .onnx written by kseg.export")
    parser.add_argument(
        "input",
        metavar="INPUT",
        help="image, folder, video, or camera: 0, /dev/video0, csi:0, a stream (rtsp://..., "
        "http://...) or a GStreamer pipeline",
    )
    parser.add_argument(
        "--out", default="overlays", metavar="DIR", help="output folder (default: overlays)"
    )
    parser.add_argument(
        "--save-masks", action="store_true", help="also write class ids as PNG, to DIR/masks"
    )
    parser.add_argument("--no-overlays", action="store_true", help="do not draw or write overlays")
    parser.add_argument(
        "--json",
        metavar="FILE",
        help="write one JSON object per frame, with drivable share, lane offset and free distance, "
        "to FILE (- for stdout)",
    )
    parser.add_argument(
        "--rows",
        type=float,
        nargs="+",
        default=[0.6, 0.8],
        metavar="ROW",
        help="image rows in which --json measures the lane, as shares of the frame's height from "
        "the top (default: 0.6 0.8)",
    )
    parser.add_argument(
        "--ego",
        metavar="CLASS",
        help="class of the lane we drive in (default: direct; all drivable classes in a model "
        "without it)",
    )
    parser.add_argument(
        "--show",
        action="store_true",
        help="show overlays in a window instead of writing them; q or Esc ends the run",
    )
    parser.add_argument(
        "--device",
        choices=DEVICES,
        default="cpu",
        help="cpu (default); gpu: run the complete model on the GPU or fail; auto: use the GPU "
        "if it works, else the CPU, with a message",
    )
    parser.add_argument(
        "--recheck",
        type=float,
        default=DEFAULT_RECHECK_S,
        metavar="S",
        help="compare the GPU with the CPU every S seconds (default: 30; 0: only at the start)",
    )
    parser.add_argument(
        "--threads", type=int, default=None, help="CPU threads (default: the runtime's choice)"
    )
    parser.add_argument("--frames", type=int, default=None, help="stop after this many frames")
    parser.add_argument(
        "--smooth",
        type=float,
        default=0,
        metavar="W",
        help="temporal smoothing, weight of the past: 0 (default: off), or above 0.5 and below 1; "
        "at 0.6, one deviating frame changes nothing",
    )
    add_camera_flags(parser)
    return parser.parse_args(argv)


def add_camera_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--camera-size",
        type=parse_size,
        metavar="WxH",
        help="frame size to ask a V4L2 or csi camera for, such as 1280x720",
    )
    parser.add_argument(
        "--camera-fps", type=float, metavar="N", help="frame rate to ask it for (frames per second)"
    )
    parser.add_argument(
        "--camera-format",
        default="",
        metavar="CODE",
        help="pixel format to ask a V4L2 camera for, such as MJPG or YUYV",
    )
    parser.add_argument(
        "--camera-timeout",
        type=float,
        default=10,
        metavar="S",
        help="seconds a camera may take to open, and then for each frame (default: 10)",
    )
    parser.add_argument(
        "--reconnect",
        type=float,
        default=60,
        metavar="S",
        help="seconds to wait for a lost camera (default: 60)",
    )


def parse_size(text: str) -> tuple[int, int]:
    """Returns (width, height) of "1280x720"."""
    sides = text.split("x")
    if len(sides) != 2 or not all(s.isdecimal() and 0 < int(s) <= 32768 for s in sides):
        raise argparse.ArgumentTypeError(f"{text}: expected WIDTHxHEIGHT, such as 1280x720")
    return int(sides[0]), int(sides[1])


def check_flags(args: argparse.Namespace) -> None:
    for name in ("threads", "frames"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise InputError(f"--{name} {value}: expected at least 1")
    if args.smooth and not 0.5 < args.smooth < 1:  # Up to 0.5, the class just seen always wins.
        raise InputError(
            f"--smooth {args.smooth:g}: expected 0 (off), or above 0.5 and below 1; up to 0.5 it "
            "would change nothing"
        )
    if not 0 <= args.reconnect < math.inf:
        raise InputError(f"--reconnect {args.reconnect:g}: expected seconds, at least 0")
    if not 0 <= args.recheck < math.inf:
        raise InputError(f"--recheck {args.recheck:g}: expected seconds, at least 0")
    if not 0 < args.camera_timeout < math.inf:
        raise InputError(f"--camera-timeout {args.camera_timeout:g}: expected seconds, above 0")
    if args.camera_fps is not None and not 0 < args.camera_fps < math.inf:
        raise InputError(f"--camera-fps {args.camera_fps:g}: expected frames per second, above 0")
    if args.camera_format and len(args.camera_format) != 4:
        raise InputError(
            f"--camera-format {args.camera_format}: expected four characters, such as MJPG"
        )


def camera_options(args: argparse.Namespace) -> CameraOptions:
    return CameraOptions(
        reconnect_s=args.reconnect,
        timeout_s=args.camera_timeout,
        size=args.camera_size,
        rate=args.camera_fps,
        format=args.camera_format,
    )
