"""Image normalisation that several encoders share; it is part of the graph."""

from typing import Any

from keras import layers

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def normalize_imagenet(image: Any) -> Any:
    """RGB in [0, 255] -> ImageNet's mean 0 and standard deviation 1, per channel."""
    return layers.Rescaling(
        [1 / (255 * s) for s in IMAGENET_STD],
        offset=[-m / s for m, s in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)],
        name="normalize",
    )(image)


def normalize_to_one(image: Any) -> Any:
    """[0, 255] -> [-1, 1]."""
    return layers.Rescaling(1 / 127.5, offset=-1.0, name="normalize")(image)
