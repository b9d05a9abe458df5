"""Does the .tflite answer as the Keras model does? Measured on labelled frames, on this CPU."""

import time

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from kseg import metrics


class TFLiteModel:
    """A class-map .tflite on LiteRT's CPU: (H, W, 3) uint8 RGB -> (H, W) uint8 ids."""

    def __init__(self, tflite, num_threads=None):
        self._interpreter = Interpreter(model_content=tflite, num_threads=num_threads)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._output = self._interpreter.get_output_details()[0]["index"]

    def __call__(self, image):
        self._interpreter.set_tensor(self._input, image[None])
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._output)[0]


def compare(model, tflite, frames, labels):
    """Runs both on batches of {"image", "mask"} and returns what was measured.

    {"frames", "pixel_agreement" 0..1, "keras": scores, "tflite": scores, "latency_ms": median of
    one frame on one thread}; scores as in kseg.metrics.scores.
    """
    runner = TFLiteModel(tflite, num_threads=1)
    classes = len(labels.classes)
    agree = pixels = count = 0
    confusion_keras = confusion_tflite = 0
    latencies_ms = []
    for batch in frames:
        images = batch["image"].numpy()
        expected = np.argmax(model.predict_on_batch(images), axis=-1)
        for image, mask, want in zip(images, batch["mask"].numpy(), expected, strict=True):
            start = time.perf_counter()
            got = runner(image.astype(np.uint8))
            latencies_ms.append(1000 * (time.perf_counter() - start))
            agree += int((got == want).sum())
            pixels += got.size
            confusion_keras = confusion_keras + metrics.confusion_matrix(mask, want, classes)
            confusion_tflite = confusion_tflite + metrics.confusion_matrix(mask, got, classes)
            count += 1
    return {
        "frames": count,
        "pixel_agreement": agree / pixels,
        "keras": metrics.scores(confusion_keras, labels),
        "tflite": metrics.scores(confusion_tflite, labels),
        "latency_ms": float(np.median(latencies_ms)),
    }
