"""Runs a kseg .tflite on an image, a folder of images, a video or a camera.

Needs numpy, OpenCV and ai-edge-litert alone. All it must know of the model (input size, how frames
are fitted, classes, colours) it reads from the contract inside the file. Geometry follows
kseg/preprocess.py to the bit.
"""

import argparse
import json
import sys
import time
import zlib
from pathlib import Path

import cv2
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

CONTRACT_NAME = b"kseg_contract"
CONTRACT_VERSION = 1
REEXPORT = "re-export it with `python -m kseg.export --tflite`"
NEEDED = ("input_size", "input_dtype", "fit", "pad_value", "output_kind", "labels")
INPUT_DTYPES = ("uint8", "float32")
OUTPUT_KINDS = ("class_map", "logits")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
UNSEEN_ID = 255  # What `crop` cut away.

EXAMPLES = """examples:
  python deploy/python/run.py road.tflite street.jpg
  python deploy/python/run.py road.tflite drive.mp4 --out overlays
  python deploy/python/run.py road.tflite 0 --show            the first camera
  python deploy/python/run.py road.tflite /dev/video2 --frames 300

Writes OUT/NAME.png or OUT/NAME.mp4. Exit codes: 0 done, 2 bad input.
"""


class InputError(ValueError):
    """Bad input; the message is one line that says what to do."""


def main(argv=None):
    parser = argparse.ArgumentParser(
        description="Runs a kseg .tflite on an image, a folder, a video or a camera.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="MODEL", help=".tflite written by kseg.export")
    parser.add_argument(
        "input", metavar="INPUT", help="image, folder, video, or camera (0, /dev/...)"
    )
    parser.add_argument("--out", default="overlays", metavar="DIR", help="default: overlays")
    parser.add_argument("--save-masks", action="store_true", help="write class ids as PNG too")
    parser.add_argument("--show", action="store_true", help="show a window instead; q or Esc ends")
    parser.add_argument("--threads", type=int, default=None, help="CPU threads (default: LiteRT's)")
    parser.add_argument("--frames", type=int, default=None, help="stop after this many frames")
    args = parser.parse_args(argv)
    try:
        return run(args)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def run(args):
    """Segments every frame of the input. Returns the exit code."""
    for name in ("threads", "frames"):
        given = getattr(args, name)
        if given is not None and given < 1:
            raise InputError(f"--{name} {given}: expected at least 1")
    frames, video_rate = open_frames(args.input)
    runner = Runner(args.model, args.threads)
    if args.show:
        sink = Window(wait_ms=1 if video_rate else 0)
    else:
        sink = Files(Path(args.out), video_rate, args.save_masks, Path(args.input))
    latencies_ms, count = [], 0
    try:
        for name, frame in frames:
            start = time.perf_counter()
            class_map = runner(frame)
            latencies_ms.append(1000 * (time.perf_counter() - start))
            sink.put(name, draw(frame, class_map, runner.contract), class_map)
            count += 1
            if count == args.frames or sink.closed:
                break
    except KeyboardInterrupt:
        pass  # A camera has no end; what was written so far is kept.
    finally:
        sink.close()
    if not count:
        raise InputError(f"{args.input}: opened, but not one frame can be read")
    low, middle, high = np.percentile(latencies_ms, (0, 50, 95))
    print(
        f"{count} frames, {low:.1f} / {middle:.1f} / {high:.1f} ms (minimum / median / 95 %) from "
        f"frame to class map; {sink}"
    )
    return 0


class Runner:
    """A kseg model on LiteRT's CPU: (h, w, 3) uint8 RGB of any size -> (h, w) uint8 class ids.

    Raises InputError when the file is no model with a kseg contract that this runner reads.
    """

    def __init__(self, path, num_threads=None):
        tflite = read_file(path)
        self.contract = read_contract(tflite, path)
        check_seal(tflite, path)
        self._interpreter = Interpreter(model_content=tflite, num_threads=num_threads)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]
        self._output = self._interpreter.get_output_details()[0]["index"]
        if list(self._input["shape"][1:3]) != self.contract["input_size"]:
            raise InputError(f"{path}: its contract and its graph differ in size; {REEXPORT}")

    def __call__(self, frame):
        size, fit = self.contract["input_size"], self.contract["fit"]
        image = fit_frame(frame, size, fit, self.contract["pad_value"])
        self._interpreter.set_tensor(self._input["index"], image[None].astype(self._input["dtype"]))
        self._interpreter.invoke()
        answer = self._interpreter.get_tensor(self._output)[0]
        if self.contract["output_kind"] == "logits":
            answer = answer.argmax(axis=-1)
        class_map = answer.astype(np.uint8)
        return unfit_class_map(class_map, frame.shape[:2], fit)


def read_file(path):
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def read_contract(tflite, path):
    """Returns the contract (dict) inside a .tflite (bytes). Raises InputError naming `path`."""
    if tflite[4:8] != b"TFL3":
        raise InputError(f"{path}: not a .tflite file (its first bytes are {tflite[:8]!r})")
    try:
        model = schema.Model.GetRootAs(tflite, 0)
        entries = [model.Metadata(i) for i in range(model.MetadataLength())]
        found = [e.Buffer() for e in entries if e.Name() == CONTRACT_NAME]
        text = model.Buffers(found[0]).DataAsNumpy().tobytes() if found else None
    except Exception as error:  # The generated reader trusts every offset in the file.
        raise InputError(f"{path}: damaged .tflite file ({error}); {REEXPORT}") from error
    if text is None:
        raise InputError(f"{path}: no kseg contract inside; {REEXPORT}")
    try:
        contract = json.loads(text)
        version = contract["contract_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: its kseg contract is damaged; {REEXPORT}") from error
    if not isinstance(version, int) or version > CONTRACT_VERSION:
        raise InputError(
            f"{path}: kseg contract version {version} is newer than this runner reads "
            f"({CONTRACT_VERSION}); update the runner or {REEXPORT}"
        )
    missing = [key for key in NEEDED if key not in contract]
    if missing:
        raise InputError(f"{path}: its kseg contract is damaged ({missing[0]}); {REEXPORT}")
    takes, answers = contract["input_dtype"], contract["output_kind"]
    if takes not in INPUT_DTYPES or answers not in OUTPUT_KINDS:
        raise InputError(
            f"{path}: answers {answers} from {takes}; this runner needs "
            f"{' or '.join(OUTPUT_KINDS)} from {' or '.join(INPUT_DTYPES)}; {REEXPORT}"
        )
    return contract


def check_seal(tflite, path):
    """Raises InputError unless the file ends with "KCRC" and the CRC-32 of all before it."""
    if tflite[-8:-4] != b"KCRC":
        raise InputError(f"{path}: cut off, or not sealed by kseg.export; {REEXPORT}")
    if int.from_bytes(tflite[-4:], "little") != zlib.crc32(tflite[:-8]):
        raise InputError(
            f"{path}: damaged .tflite file (its checksum differs); copy it anew or {REEXPORT}"
        )


def placement(frame_size, input_size, fit):
    """Returns (height, width, top, left) of a frame scaled into the input; negative: cut off."""
    (frame_height, frame_width), (height, width) = frame_size, input_size
    if fit == "stretch":
        return height, width, 0, 0
    choose = {"letterbox": min, "crop": max}[fit]
    scale = choose(height / frame_height, width / frame_width)
    scaled_height = max(1, int(frame_height * scale + 0.5))
    scaled_width = max(1, int(frame_width * scale + 0.5))
    return (
        scaled_height,
        scaled_width,
        int((height - scaled_height) / 2),
        int((width - scaled_width) / 2),
    )


def fit_frame(frame, input_size, fit, pad_value):
    """(h, w, 3) uint8 -> (height, width, 3) uint8: area-averaged down, bilinear up."""
    height, width, top, left = placement(frame.shape[:2], input_size, fit)
    if frame.shape[:2] != (height, width):
        shrinks = height <= frame.shape[0] and width <= frame.shape[1]
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        frame = cv2.resize(frame, (width, height), interpolation=how)
    if (height, width) == tuple(input_size):
        return frame
    canvas = np.full((*input_size, 3), pad_value, np.uint8)
    rows, columns = min(height, input_size[0]), min(width, input_size[1])
    seen = frame[max(-top, 0) :, max(-left, 0) :][:rows, :columns]
    canvas[max(top, 0) :, max(left, 0) :][:rows, :columns] = seen
    return canvas


def unfit_class_map(class_map, frame_size, fit):
    """(height, width) uint8 ids of the input -> (h, w) uint8 ids of the frame, nearest."""
    height, width, top, left = placement(frame_size, class_map.shape, fit)
    seen = class_map[max(top, 0) :, max(left, 0) :][:height, :width]
    scaled = np.full((height, width), UNSEEN_ID, np.uint8)
    scaled[max(-top, 0) :, max(-left, 0) :][: seen.shape[0], : seen.shape[1]] = seen
    # In integers: OpenCV's INTER_NEAREST_EXACT differs between its versions.
    rows, columns = (
        (2 * np.arange(to) + 1) * side // (2 * to)
        for to, side in zip(frame_size, (height, width), strict=True)
    )
    return scaled[:, columns][rows]


def draw(frame, class_map, contract):
    """Blends the class colours over an RGB frame and adds a legend. Black classes stay clear."""
    classes = contract["labels"]["classes"]
    table, shown = np.zeros((256, 3), np.uint8), np.zeros(256, bool)
    for c in classes:
        table[c["id"]], shown[c["id"]] = c["color"], any(c["color"])
    blended = cv2.addWeighted(frame, 0.5, table[class_map], 0.5, 0)
    picture = np.where(shown[class_map][..., None], blended, frame)
    scale = max(0.35, len(frame) / 700)
    line, thick = int(32 * scale), max(1, round(1.5 * scale))
    for row, c in enumerate(classes):
        top = line // 3 + row * line
        corner = (line // 3 + line, top + line * 3 // 4)
        cv2.rectangle(picture, (line // 3, top), corner, c["color"], -1)
        cv2.rectangle(picture, (line // 3, top), corner, (255, 255, 255), 1)
        origin = (line * 5 // 3, top + line * 5 // 8)
        for color, width in (((0, 0, 0), thick + 2), ((255, 255, 255), thick)):
            cv2.putText(
                picture,
                c["name"],
                origin,
                cv2.FONT_HERSHEY_SIMPLEX,
                scale,
                color,
                width,
                cv2.LINE_AA,
            )
    return picture


def open_frames(source):
    """Returns (iterator of (name, (h, w, 3) uint8 RGB), frames per second or None for images).

    Raises InputError when there is nothing to read.
    """
    path = Path(source)
    if path.is_dir():
        images = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
        if not images:
            raise InputError(f"{path}: no images ({', '.join(IMAGE_SUFFIXES)}) in it")
        return read_images(images), None
    if path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES:
        return read_images([path]), None
    camera = source.isdecimal() or source.startswith("/dev/")
    if not camera and not path.is_file():
        raise InputError(f"{source}: no such file, folder or camera")
    video = cv2.VideoCapture(int(source) if source.isdecimal() else source)
    if not video.isOpened():
        raise InputError(f"{source}: cannot be opened as a {'camera' if camera else 'video'}")
    name = "camera" if camera else path.stem
    return read_video(video, name), video.get(cv2.CAP_PROP_FPS) or 25


def read_images(paths):
    for path in paths:
        frame = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
        if frame is None:
            raise InputError(f"{path}: cannot be decoded as an image; remove or replace it")
        yield path.stem, frame


def read_video(video, name):
    while True:
        ok, frame = video.read()
        if not ok:
            return
        yield name, cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


class Files:
    """Writes pictures as PNG, or as one video when a frame rate is given."""

    closed = False

    def __init__(self, folder, video_rate, save_masks, source):
        self.source = source.resolve()
        self.folder, self.rate, self.save_masks = folder, video_rate, save_masks
        self.writer, self.written, self.count = None, None, 0
        try:
            (folder / "masks" if save_masks else folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"--out {folder}: {error.strerror}") from error
        if self.source.exists() and folder.resolve() in (self.source, self.source.parent):
            # A folder of its own: an overlay has the name of its input and would replace it.
            raise InputError(f"--out {folder}: holds the input; choose another folder")

    def put(self, name, picture, class_map):
        bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
        mask_name = name if self.rate is None else f"{name}-{self.count:06d}"
        if self.rate is None:
            self._write(self.folder / f"{name}.png", bgr)
        else:
            self._writer(name, bgr).write(bgr)
        if self.save_masks:
            self._write(self.folder / "masks" / f"{mask_name}.png", class_map)
        self.count += 1

    def close(self):
        if self.writer:
            self.writer.release()

    def _writer(self, name, frame):
        if self.writer is None:
            self.written = self.folder / f"{name}.mp4"
            size, codec = (frame.shape[1], frame.shape[0]), cv2.VideoWriter_fourcc(*"mp4v")
            self.writer = cv2.VideoWriter(str(self.written), codec, self.rate, size)
            if not self.writer.isOpened():
                raise InputError(
                    f"{self.written}: video cannot be written there; choose another --out"
                )
        return self.writer

    @staticmethod
    def _write(path, image):
        if not cv2.imwrite(str(path), image):
            raise InputError(f"{path}: cannot be written; choose another --out")

    def __str__(self):
        return f"overlays in {self.written or self.folder}"


class Window:
    """Shows pictures on the screen until q or Esc; images stay until a key is pressed."""

    closed = False

    def __init__(self, wait_ms):
        self.wait_ms = wait_ms  # 0: until a key.

    def put(self, name, picture, class_map):
        cv2.imshow("kseg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        self.closed = cv2.waitKey(self.wait_ms) & 0xFF in (27, ord("q"))

    def close(self):
        cv2.destroyAllWindows()

    def __str__(self):
        return "shown on screen"


if __name__ == "__main__":
    sys.exit(main())
