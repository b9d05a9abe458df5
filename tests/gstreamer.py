"""A stand-in for a Jetson's CSI camera: the runner's own pipeline from GStreamer's test source."""

import cv2
import numpy as np
from kseg_run.camera_capture import CameraOptions, capture_arguments

SIZE = (72, 128)  # The golden files' input: no frame is resized.
COLOR = (63, 31, 2)  # RGB; by 3: 0, 1, 2
FRAMES = 5


def csi_stand_in():
    """csi:0's pipeline with videotestsrc as camera and memory that every machine has."""
    text, backend = capture_arguments("csi:0", CameraOptions(size=SIZE[::-1], rate=30))
    assert backend == cv2.CAP_GSTREAMER
    color = 0xFF000000 | COLOR[0] << 16 | COLOR[1] << 8 | COLOR[2]
    source = f"videotestsrc is-live=true pattern=solid-color foreground-color={color}"
    for word, stand_in in (
        ("nvarguscamerasrc sensor-id=0", source),
        ("(memory:NVMM)", ""),
        ("nvvidconv", "videoconvert"),
    ):
        assert text.count(word) == 1, text
        text = text.replace(word, stand_in)
    return text


def assert_masks_show_the_camera(folder):
    """tensor-uint8.tflite's class maps are the input modulo 3: one channel in each third."""
    expected = np.repeat(np.array(COLOR, np.uint8) % 3, SIZE[0] // 3)[:, None]
    masks = sorted(folder.glob("*.png"))
    assert len(masks) == FRAMES
    for mask in masks:
        class_map = cv2.imread(str(mask), cv2.IMREAD_UNCHANGED)
        assert class_map.shape == SIZE and (class_map == expected).all(), mask.name
