"""The i-vector extractor (Dehak et al. 2011): a universal background model, and a factor analysis of its means.

In utterance i, the mean of Gaussian c is m_c + T_c w_i, and w_i is standard normal. Its posterior mean is the i-vector. Given the
statistics N_ic (number of frames) and F_ic (their sum about m_c), the posterior has the precision
L_i = I + sum_c N_ic T_c' S_c^-1 T_c and the mean L_i^-1 sum_c T_c' S_c^-1 F_ic, with S_c the residual covariance, diagonal here.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from selfsv.models.cepstra import Cepstra
from selfsv.settings.ivector import ExtractorSettings

NEWTON_STEPS = 30  # of the inverse in an exported graph: enough for condition numbers up to 10^6
COMPONENTS_AT_ONCE = 64


class Gaussians(NamedTuple):
    """A mixture of C Gaussians with diagonal covariances in D dimensions."""

    weights: Tensor  # [C], of sum 1
    means: Tensor  # [C, D]
    variances: Tensor  # [C, D]

    def joint(self, frames: Tensor) -> Tensor:
        """[..., D] to [..., C], the logarithm of weight times density."""
        precision = 1 / self.variances
        constant = self.weights.log() - 0.5 * (self.variances.log() + math.log(2 * math.pi) + self.means.square() * precision).sum(dim=1)
        return frames @ (self.means * precision).T - 0.5 * (frames.square() @ precision.T) + constant

    def posteriors(self, frames: Tensor) -> Tensor:
        """[..., D] to [..., C], of sum 1."""
        return self.joint(frames).softmax(dim=-1)


class Factors(NamedTuple):
    """A total variability model of C Gaussians in D dimensions, and E factors."""

    means: Tensor  # m: [C, D]
    loadings: Tensor  # T: [C, D, E]
    variances: Tensor  # S, of what is left: [C, D]

    def grams(self) -> Tensor:
        """T_c' S_c^-1 T_c of each Gaussian, [C, E (E + 1) / 2]: the lower triangles."""
        row, column = torch.tril_indices(self.loadings.shape[2], self.loadings.shape[2])
        parts = zip(self.loadings.split(COMPONENTS_AT_ONCE), self.variances.split(COMPONENTS_AT_ONCE), strict=True)
        return torch.cat([(part.mT @ (part / variances.unsqueeze(2)))[:, row, column] for part, variances in parts])

    def centred(self, counts: Tensor, sums: Tensor) -> Tensor:
        """Sums of frames [B, C, D] about this model's means; counts [B, C]."""
        return sums - counts.unsqueeze(2) * self.means

    def equations(self, grams: Tensor, counts: Tensor, centred: Tensor) -> tuple[Tensor, Tensor]:
        """The precision L [B, E, E] of the posterior, and L times its mean [B, E]; `grams` as `grams()` has them."""
        scaled = self.loadings / self.variances.unsqueeze(2)
        size = self.loadings.shape[2]
        precision = unpacked(counts @ grams, size) + torch.eye(size, dtype=grams.dtype, device=grams.device)
        return precision, centred.flatten(1) @ scaled.flatten(0, 1)


def unpacked(triangles: Tensor, size: int) -> Tensor:
    """Lower triangles [..., size (size + 1) / 2], row by row, to symmetric matrices [..., size, size]."""
    steps = torch.arange(size, device=triangles.device)
    low, high = torch.minimum(steps.unsqueeze(1), steps), torch.maximum(steps.unsqueeze(1), steps)
    return triangles[..., high * (high + 1) // 2 + low]


class IvectorExtractor(nn.Module):
    """Log-mel energies, not mean-normalised, to i-vectors. It is trained by `selfsv.methods.ivector`, without gradients.

    Args:
        mel_bins: features per frame.
    """

    weights: Tensor
    ubm_means: Tensor
    ubm_variances: Tensor
    means: Tensor
    loadings: Tensor
    variances: Tensor
    grams: Tensor

    def __init__(self, settings: ExtractorSettings, mel_bins: int):
        super().__init__()
        components, size = settings.components, settings.embedding
        self.settings = settings
        self.title = f"i-vector of {components} Gaussians"
        self.values_per_frame = components
        self.cepstra = Cepstra(settings.cepstra, mel_bins)
        dimensions = self.cepstra.dimensions
        for name in ("ubm_means", "ubm_variances", "means", "variances"):
            self.register_buffer(name, torch.ones(components, dimensions))
        self.register_buffer("weights", torch.full((components,), 1 / components))
        self.register_buffer("loadings", torch.zeros(components, dimensions, size))
        # As large as all the rest, and follows from it: computed when weights are loaded.
        self.register_buffer("grams", torch.zeros(components, size * (size + 1) // 2), persistent=False)
        self.register_load_state_dict_post_hook(lambda module, keys: module.refresh())

    @property
    def ubm(self) -> Gaussians:
        """The universal background model, which says what frames belong to which Gaussian."""
        return Gaussians(self.weights, self.ubm_means, self.ubm_variances)

    @property
    def factors(self) -> Factors:
        """The total variability model."""
        return Factors(self.means, self.loadings, self.variances)

    def refresh(self) -> None:
        """Compute what follows from the weights."""
        self.grams = self.factors.grams()

    def assigned(self, features: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Cepstra [B, T, D] and the posteriors of the Gaussians [B, T, C], zero where there is no speech. Arguments as for `forward`."""
        if lengths is None:
            lengths = torch.ones_like(features[:, :, 0], dtype=torch.int64).sum(dim=1)  # an exporter would take their number for a constant
        frames, speech = self.cepstra(features.float(), lengths)
        return frames, self.ubm.posteriors(frames) * speech.unsqueeze(2)

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """I-vectors of a batch of utterances.

        Args:
            features: [B, T, mel_bins].
            lengths: [B] true numbers of frames where utterances were padded to T; None where all are T long.

        Returns:
            [B, embedding], float32, not normalised in length.
        """
        with torch.autocast(features.device.type, enabled=False):  # bfloat16 has too few digits for sums over an utterance
            frames, posteriors = self.assigned(features, lengths)
            counts, sums = posteriors.sum(dim=1), torch.bmm(posteriors.mT, frames)
            precision, right = self.factors.equations(self.grams, counts, self.factors.centred(counts, sums))
            if torch.compiler.is_exporting():  # ONNX knows no decomposition of matrices
                return (newton_inverse(precision) @ right.unsqueeze(2)).squeeze(2)
            return torch.cholesky_solve(right.unsqueeze(2), torch.linalg.cholesky(precision)).squeeze(2)


def newton_inverse(matrices: Tensor) -> Tensor:
    """[..., E, E] inverses of positive definite matrices with matrix products alone (Newton and Schulz)."""
    identity = torch.eye(matrices.shape[-1], dtype=matrices.dtype, device=matrices.device)
    # From the identity over a norm it always converges.
    norm = matrices.abs().sum(dim=-1).amax(dim=-1)
    inverse = identity / norm[..., None, None]
    for _ in range(NEWTON_STEPS):
        inverse = inverse @ (2 * identity - matrices @ inverse)
    return inverse
