"""Names of all models, encoders and losses, for the config's checks and --help.

kseg.models and kseg.training.losses build exactly these. The names stand here because the config
must know them without importing Keras.
"""

# Families that are built on any encoder below, as FAMILY_ENCODER.
FAMILIES = ("fcn", "unet", "pspnet", "deeplab_v3_plus")
ENCODERS = (
    "resnet50",
    "resnet101",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    *(f"efficientnet_lite{number}" for number in range(5)),
    *(f"efficientnet_v2_b{number}" for number in range(4)),
)
SEGFORMERS = tuple(f"segformer_b{number}" for number in range(6))
MODELS = (
    "unet",
    *(f"{family}_{encoder}" for family in FAMILIES for encoder in ENCODERS),
    "deeplab_v3_plus_mobilenet_edge",
    *SEGFORMERS,
    "segformer_b0_edge",
)
LOSSES = ("cross_entropy", "focal", "dice", "log_dice", "tversky", "focal_tversky", "lovasz")
