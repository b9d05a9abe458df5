import cv2
import numpy as np

from kseg.data import records


def test_encode_then_parse_returns_the_frame():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (31, 45, 3), dtype=np.uint8)
    mask = rng.choice(np.array([0, 1, 2, 255], np.uint8), (31, 45))
    png = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()
    mask_png = cv2.imencode(".png", mask)[1].tobytes()
    serialized = records.encode("frame-7", png, mask_png, (31, 45))
    example = records.parse(serialized)
    assert example["key"].numpy() == b"frame-7"
    assert np.array_equal(example["image"].numpy(), image)
    assert np.array_equal(example["mask"].numpy(), mask)


def test_encoding_a_frame_twice_gives_the_same_bytes():
    files = {records.encode("k", b"i", b"m", (1, 2)) for _ in range(20)}
    assert len(files) == 1
