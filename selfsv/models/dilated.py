"""A time delay as a convolution of images of one row: frames by channels are the layout of such an image with channels last."""

from typing import NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsv.models.ecapa import TimeDelay


class Dilated(NamedTuple):
    """The convolution of a delay without stride."""

    kernel: int
    dilation: int

    @classmethod
    def of(cls, delay: TimeDelay) -> Self:
        """That of a layer."""
        return cls(delay.kernel, delay.dilation)

    def filters(self, weight: Tensor) -> Tensor:
        """[outputs, kernel * inputs] to [outputs, inputs, 1, kernel]."""
        return weight.view(len(weight), 1, self.kernel, -1).permute(0, 3, 1, 2)

    def weight(self, filters: Tensor) -> Tensor:
        """The other way round."""
        return filters.permute(0, 2, 3, 1).reshape(len(filters), -1)

    def __call__(self, frames: Tensor, filters: Tensor) -> Tensor:
        """[B, T, inputs] to [B, T, outputs]."""
        return frames_of(F.conv2d(image(frames), filters, padding=(0, self._reach), dilation=(1, self.dilation)))

    def backward(self, upstream: Tensor, frames: Tensor, filters: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of frames and filters."""
        sizes = [1, 1], [0, self._reach], [1, self.dilation], False, [0, 0], 1
        of_image, of_filters, _ = torch.ops.aten.convolution_backward(
            image(upstream), image(frames), filters, None, *sizes, [True, True, False]
        )
        return frames_of(of_image), of_filters

    @property
    def _reach(self) -> int:
        return self.dilation * (self.kernel // 2)


def image(frames: Tensor) -> Tensor:
    """[B, T, C] to [B, C, 1, T], a view."""
    return frames.transpose(1, 2).unsqueeze(2)


def frames_of(image: Tensor) -> Tensor:
    """[B, C, 1, T] to [B, T, C], contiguous."""
    return image.squeeze(2).transpose(1, 2).contiguous()
