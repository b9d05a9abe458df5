package kseg.core;

/** How a frame of another shape becomes the model's input (deploy/README.md). */
public enum Fit {
    LETTERBOX,
    STRETCH,
    CROP
}
