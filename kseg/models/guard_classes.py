"""A model for inference whose argmax can show that no class has a finite logit."""

import keras
import numpy as np

from kseg.models.simplify import pointwise, replace_layers

# LiteRT's GPU accelerator works on slices of 4 channels. In a slice that is not full, its ARG_MAX
# silently returns a channel that does not exist where all logits are negative.
_SLICE_CHANNELS = 4
# The logit of a guard class: below all real logits, and well within float16 (export verifies that
# real logits are: kseg.export.float16_range).
LARGEST_LOGIT = 3e4
_NEVER_WINS = -LARGEST_LOGIT


def add_guard_classes(model: keras.Model) -> keras.Model:
    """Returns a model with the logits of `model`, guard classes after its last class, all reversed.

    The result maps (B, H, W, 3) to (B, H, W, N), where N is the next multiple of 4 above the number
    of classes. Channel i holds class N - 1 - i, so that the class map is N - 1 - argmax. A guard
    class never wins against finite logits. It comes first because no NaN is larger than it: the
    argmax of a pixel whose logits are all NaN is channel 0 on LiteRT's CPU and its accelerator. So
    that pixel gets the id N - 1, which is no class, instead of id 0, the lane we drive in. Of equal
    logits the highest id wins.

    Guard classes are channels of a second, 1x1 convolution (zero kernel, bias -3e4). Padding the
    logits would depend on drivers: LiteRT.js pads with 0, whatever constant PADV2 has. It leaves
    finite logits as they are. Where one is infinite or NaN it makes the others NaN (0 x infinity),
    and adds the sum of the logits to the first guard class, which so wins where a kernel clamps
    infinity to the largest float, as LiteRT's reference kernels do. `model` must be one of
    kseg.models.build, or its simplified form; it is not changed.
    """
    kernel, bias = model.get_layer("logits_conv").get_weights()
    num_classes = len(bias)
    guards = _SLICE_CHANNELS - num_classes % _SLICE_CHANNELS
    reverse = pointwise(kernel[0, 0][:, ::-1], bias[::-1], "logits_conv_reversed")
    spread = np.pad(np.eye(num_classes, dtype=np.float32), [(0, 0), (guards, 0)])
    spread[:, 0] = 1
    guard_bias = np.pad([_NEVER_WINS] * guards, (0, num_classes))
    guard = pointwise(spread, guard_bias, "logits_conv_guarded")
    return replace_layers(model, {"logits_conv": lambda features: guard(reverse(features))})
