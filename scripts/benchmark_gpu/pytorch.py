"""The PyTorch side of stage "speed": kseg's training step as a PyTorch user would write it.

It uses channels_last, autocast to bfloat16 (or TF32), torch.compile and fused Adam. The images are
uint8 on the device, the loss is kseg's log-Dice over the batch, and gradients are clipped to a norm
of 1.
"""

import time

import torch

from benchmark_gpu import steps

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def segformer_b0():
    """transformers' SegFormer with the same widths and depths; logits at a quarter of the size."""
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    config = SegformerConfig(
        hidden_sizes=[32, 64, 160, 256],
        depths=[2, 2, 2, 2],
        decoder_hidden_size=256,
        num_labels=steps.CLASSES,
    )
    model = SegformerForSemanticSegmentation(config)
    return model, lambda images: model(pixel_values=images).logits


def deeplab_v3_resnet50():
    """torchvision's DeepLabV3, which does more work than our DeepLabV3+.

    It has no detail branch and no decoder, its convolutions are dense where ours are separable, and
    its output stride is 8 instead of 16: four times the pixels in the last stages. So the ratio
    shows what a user gets, not which code is better.
    """
    from torchvision.models.segmentation import deeplabv3_resnet50

    model = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=steps.CLASSES)
    return model, lambda images: model(images)["out"]


MODELS = {  # The keys are speed.HEADLINES.
    "segformer_b0": segformer_b0,
    "deeplab_v3_plus_resnet50": deeplab_v3_resnet50,
}


def log_dice(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """kseg.training.losses.Dice(log=True), over all pixels of the batch but the ignored (255)."""
    counted = (masks != 255)[..., None]
    classes = torch.arange(logits.shape[1], device=logits.device)
    truth = (masks[..., None] == classes).float()
    p = torch.softmax(logits.float(), 1).permute(0, 2, 3, 1) * counted
    overlap, in_truth, predicted = (x.sum((0, 1, 2)) for x in (p * truth, truth, p))
    index = (2 * overlap + 1) / (predicted + in_truth + 1)
    present = in_truth > 0
    index = torch.where(present, index, torch.ones_like(index))
    return -(torch.log(index) * present).sum() / present.sum().clamp(min=1)


class PyTorchStep:
    """Has the attributes and methods of speed_child.KsegStep."""

    def __init__(self, case: dict):
        self.on_gpu = torch.cuda.is_available()
        self.device = torch.device("cuda" if self.on_gpu else "cpu")
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
        torch.manual_seed(0)
        model, forward = MODELS[case["model"]]()
        self.model = model.to(self.device, memory_format=torch.channels_last).train()
        self.data = [
            torch.from_numpy(array).to(self.device)
            for array in steps.batch(tuple(case["size"]), case["batch"])
        ]
        # kseg's default learning rate. The fused kernel exists for GPUs only.
        self.optimizer = torch.optim.Adam(model.parameters(), lr=3e-4, fused=self.on_gpu)
        half = case["precision"] == "bfloat16"
        mean, std = (torch.tensor(v, device=self.device).view(1, 3, 1, 1) for v in (MEAN, STD))

        def loss(images, masks):
            images = (images.permute(0, 3, 1, 2).float() - mean) / std
            with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
                logits = forward(images)
            logits = torch.nn.functional.interpolate(
                logits.float(), size=masks.shape[1:], mode="bilinear", align_corners=False
            )
            return log_dice(logits, masks)

        self.loss = torch.compile(loss)
        self.facts = {"parameters": sum(p.numel() for p in model.parameters())}
        start = time.perf_counter()
        for _ in range(3):  # In the second and third, cuDNN selects its algorithms.
            self.step()
        self.wait()
        self.facts["compile_s"] = time.perf_counter() - start

    def step(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(*self.data)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()

    def wait(self) -> None:
        if self.on_gpu:
            torch.cuda.synchronize()

    def peak_memory_bytes(self) -> int | None:
        return torch.cuda.max_memory_allocated() if self.on_gpu else None
