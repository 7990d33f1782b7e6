"""AAM-softmax with several centres per class, so that a wrongly labelled group need not pull a class apart (Deng et al., 2020)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsv.losses.aam import AamClassifier

SPREAD = 0.1  # of the centres of a class that is given one mean: alike they would get the same gradients, and remain one


class SubCentreClassifier(AamClassifier):
    """K weight vectors per class; a class's cosine is that of its nearest one.

    Args:
        embedding: dimensions of the encoder's output.
        classes: number of speakers.
        centres: K; 1 is `AamClassifier`.
    """

    def __init__(self, embedding: int, classes: int, centres: int):
        super().__init__(embedding, classes * centres)
        self.classes, self._centres = classes, centres

    def forward(self, embeddings: Tensor) -> Tensor:
        """[B, D] to cosines [B, classes], in float32."""
        return super().forward(embeddings).unflatten(1, (self.classes, self._centres)).amax(dim=2)

    @torch.no_grad()
    def begin_with(self, means: Tensor) -> None:
        """Put every class's centres near its mean [classes, D]; the first one right there."""
        centres = F.normalize(means.to(self.weight), dim=1).unsqueeze(1).repeat(1, self._centres, 1)
        offsets = F.normalize(nn.init.normal_(torch.empty_like(centres)), dim=2)
        offsets[:, 0] = 0.0
        self.weight.copy_((centres + SPREAD * offsets).flatten(0, 1))
