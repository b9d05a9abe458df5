"""Runs a kseg .tflite or .onnx in the car; needs only NumPy, OpenCV and LiteRT or ONNX Runtime.

All it needs to know about a model (input size, fit, classes, colours) is in the contract inside the
file (deploy/README.md).

    contract        read and check the contract and the file's checksum
    fit             frame -> model input, class map -> frame
    cpu_model       LiteRT on the CPU
    onnx_model      ONNX Runtime on the CPU; onnx_file reads the metadata
    gpu_model       a GPU, in a child process: gpu_worker (LiteRT), onnx_worker (TensorRT, CUDA)
    gpu_check       the GPU compared with the CPU, at the start and while driving
    segmenter       Segmenter: frame -> class map
    frames          Frame, what sources yield
    sources         images and videos
    camera          cameras, which may be lost and come back
    frame_pipeline  capture, inference and output in threads
    smoothing       temporal smoothing of class maps
    lane_measures   drivable share, lane offset, free distance
    overlay         class colours, legend and text on a frame
    outputs         image files, videos, a window, JSON lines
    command         the command `kseg-run`
"""

__version__ = "0.1.0"
