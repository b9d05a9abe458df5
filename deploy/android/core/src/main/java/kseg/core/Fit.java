package kseg.core;

/** How a frame of another shape is fitted to the model's input (deploy/README.md). */
public enum Fit {
    LETTERBOX,
    STRETCH,
    CROP
}
