"""Runs a kseg .tflite in the car: numpy, OpenCV and LiteRT alone.

All it must know of a model (input size, how frames are fitted, classes, colours) it reads from the
contract inside the file (deploy/README.md).

    contract   what the file says of itself, and whether it is whole
    fit        frame -> model's input, class map -> frame
    cpu, gpu   LiteRT; the GPU's part runs in gpu_child, a process of its own
    model      Runner: a frame -> a class map
    sources    images, videos;  camera: what may go away and come back
    stages     capture, inference and drawing, each at its own pace
    measure    numbers of a class map;  smoothing: over time
    drawing, outputs    pictures, videos, windows, JSON lines
    command    `kseg-run`
"""

__version__ = "0.1.0"
