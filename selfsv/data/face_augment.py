"""Aligned faces to what the visual encoder sees, batched on the training device: augmentation, size, pixel range (paper V-C2).

What is done to a face is drawn where the face is read (a few numbers, on the CPU); the doing happens here. The paper names
the kinds of change; their probabilities and ranges are those of SimCLR (Chen et al., 2020) and DINO (Caron et al., 2021).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from selfsv.device import image_layout
from selfsv.settings.faces import FaceAugmentationSettings

LUMA = (0.299, 0.587, 0.114)  # ITU-R 601: grey from red, green, blue
BLUR_RADIUS = 4  # two standard deviations of the widest blur, pixels


class FaceAugmentationParams(NamedTuple):
    """The augmentation of each face; all of one shape [B]."""

    flip: Tensor  # bool
    brightness: Tensor  # float32, factor
    contrast: Tensor  # float32, factor
    saturation: Tensor  # float32, factor; 0 is grey
    hue: Tensor  # float32, shift in turns
    grey: Tensor  # bool
    blur: Tensor  # float32, standard deviation in pixels; 0: none


def draw_params(rng: np.random.Generator, settings: FaceAugmentationSettings) -> tuple[np.generic, ...]:
    """The fields of a `FaceAugmentationParams` for one face."""
    flip, colour, grey, blur = rng.random(4)
    spread = np.array([settings.brightness, settings.contrast, settings.saturation])
    factors = 1 + spread * rng.uniform(-1, 1, 3)
    hue, sigma = settings.hue * rng.uniform(-1, 1), rng.uniform(*settings.blur_sigma)
    if colour >= settings.colour:
        factors, hue = np.ones(3), 0.0
    sigma = sigma if blur < settings.blur else 0.0
    numbers = np.array([*factors, hue, sigma], dtype=np.float32)
    return np.bool_(flip < settings.flip), *numbers[:4], np.bool_(grey < settings.grey), numbers[4]


class FaceInput:
    """Aligned faces to the visual encoder's input.

    Args:
        side: of the square that the encoder sees, pixels.
    """

    def __init__(self, side: int, device: torch.device):
        self._side, self._device = side, device

    @torch.no_grad()
    def __call__(self, images: Tensor, params: FaceAugmentationParams | None = None) -> Tensor:
        """[B, 112, 96, 3] uint8 to [B, 3, side, side] float32 in [-0.5, 0.5], changed as `params` says where there is one."""
        pixels = images.to(self._device, non_blocking=True).permute(0, 3, 1, 2).float() / 255
        # Changed at the size they were aligned to, or at the encoder's where that is smaller: changes cost by the pixel.
        shrink = self._side / max(pixels.shape[2:])
        if shrink < 1:
            pixels = self._resized(pixels)
        if params is not None:
            pixels = augmented(pixels, params._replace(blur=params.blur * min(shrink, 1.0)))
        # Changes of some images leave another layout than those of none: the encoder must not have to care.
        return (self._resized(pixels) - 0.5).contiguous(memory_format=image_layout(self._device))

    def _resized(self, pixels: Tensor) -> Tensor:
        """To the encoder's size; bilinear weights keep the range."""
        return F.interpolate(pixels, size=(self._side, self._side), mode="bilinear", align_corners=False)


def augmented(pixels: Tensor, params: FaceAugmentationParams) -> Tensor:
    """[B, 3, H, W] in [0, 1] with each image changed as its entries of `params` ([B] each, on the CPU) say: colours, grey, blur, flip."""
    moved = FaceAugmentationParams(*(field.to(pixels.device, non_blocking=True) for field in params))
    pixels = blend(pixels, torch.zeros_like(pixels), moved.brightness)
    pixels = blend(pixels, luma(pixels).mean(dim=(1, 2, 3), keepdim=True).expand_as(pixels), moved.contrast)
    pixels = blend(pixels, luma(pixels).expand_as(pixels), moved.saturation)
    pixels = _in_some(pixels, (params.hue != 0) & ~params.grey, lambda images, rows: shift_hue(images, moved.hue[rows]))
    pixels = torch.where(_each(moved.grey), luma(pixels).expand_as(pixels), pixels)
    pixels = _in_some(pixels, params.blur > 0, lambda images, rows: blurred(images, moved.blur[rows]))
    return torch.where(_each(moved.flip), pixels.flip(3), pixels)


def _in_some(pixels: Tensor, chosen: Tensor, change: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """`change` of the images that are `chosen`. Which ones is known on the CPU: the device is never waited for."""
    rows = torch.nonzero(chosen).squeeze(1).to(pixels.device, non_blocking=True)
    return pixels.index_copy(0, rows, change(pixels[rows], rows)) if len(rows) else pixels


def _each(values: Tensor) -> Tensor:
    """[B] as [B, 1, 1, 1]."""
    return values.view(-1, 1, 1, 1)


def luma(pixels: Tensor) -> Tensor:
    """[B, 3, H, W] to grey [B, 1, H, W]."""
    weights = torch.tensor(LUMA).to(pixels.device, non_blocking=True)  # made on the device, it would be waited for
    return torch.einsum("bchw,c->bhw", pixels, weights).unsqueeze(1)


def blend(pixels: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    """`other` at factor 0, `pixels` at 1, beyond them outside; clipped to [0, 1]. All [B, 3, H, W] but `factor`, [B]."""
    return torch.lerp(other, pixels, _each(factor)).clamp(0, 1)


def shift_hue(pixels: Tensor, shift: Tensor) -> Tensor:
    """[B, 3, H, W] with the hue of each image turned by `shift` [B] turns; value and saturation (of HSV) stay as they are."""
    value, least = pixels.amax(dim=1), pixels.amin(dim=1)
    chroma = value - least
    red, green, blue = pixels.unbind(dim=1)
    safe = chroma.clamp(min=1e-8)
    sector = torch.where(
        value == red, (green - blue) / safe, torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe)
    )
    sector = sector + 6 * shift.view(-1, 1, 1)
    # Back to colours: each channel is the value, less the chroma times how far its own hue is from this one.
    offsets = torch.tensor([5.0, 3.0, 1.0]).to(pixels.device, non_blocking=True).view(1, 3, 1, 1)
    k = (offsets + sector.unsqueeze(1)) % 6
    return value.unsqueeze(1) - chroma.unsqueeze(1) * torch.minimum(k, 4 - k).clamp(0, 1)


def blurred(pixels: Tensor, sigma: Tensor) -> Tensor:
    """[B, 3, H, W] each convolved with a Gaussian of its own standard deviation `sigma` [B], pixels."""
    positions = torch.arange(-BLUR_RADIUS, BLUR_RADIUS + 1, device=pixels.device)
    kernels = torch.exp(-0.5 * (positions / sigma.unsqueeze(1)) ** 2)
    kernels = (kernels / kernels.sum(dim=1, keepdim=True)).repeat_interleave(pixels.shape[1], dim=0)
    flat = F.pad(pixels, [BLUR_RADIUS] * 4, mode="reflect").flatten(0, 1).unsqueeze(0)
    across = F.conv2d(flat, kernels.view(-1, 1, 1, 2 * BLUR_RADIUS + 1), groups=len(kernels))
    down = F.conv2d(across, kernels.view(-1, 1, 2 * BLUR_RADIUS + 1, 1), groups=len(kernels))
    return down.view(pixels.shape)
