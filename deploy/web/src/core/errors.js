/** Bad input from the user: its message is one complete line. */
export class InputError extends Error {}

/** A frame without a trustworthy class map; the next one may have one. */
export class FrameError extends InputError {}

/** Another model has taken the place of the one that was asked. No fault of either. */
export class ClosedError extends Error {}

export const REEXPORT = 're-export it with `python -m kseg.export --tflite`'
