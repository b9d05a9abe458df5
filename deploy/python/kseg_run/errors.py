"""What can go wrong, each in one line that says what to do."""


class InputError(ValueError):
    """Bad input: a model, a file, a flag or a device that cannot be used. Exit code 2."""


class FrameError(InputError):
    """One frame that cannot be segmented; the next one may."""


class LostError(RuntimeError):
    """A camera or a GPU that is gone, or a model that answers no frame any more. Exit code 3."""
