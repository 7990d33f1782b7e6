"""A small encoder of every architecture, by its name in the settings."""

from typing import Any

from selfsv.settings.encoder import EncoderSettings

SIZES: dict[str, dict[str, Any]] = {
    "ecapa_tdnn": {"channels": 16, "mfa_channels": 24, "bottleneck": 8},
    "resnet34": {"resnet34": {"channels": 4}},
    "res2net50": {"res2net50": {"channels": 4, "width": 3, "scale": 3}},
    "fast_resnet34": {"fast_resnet34": {"channels": 8}},
    "campplus": {"campplus": {"front": 4, "channels": 8, "growth": 4}},
}
SMALL = {name: EncoderSettings(architecture=name, embedding=12, **sizes) for name, sizes in SIZES.items()}
