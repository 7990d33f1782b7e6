"""Channel invariance: a crop's embedding should not tell what was done to its sound (Zhang et al., 2021)."""

from torch import Tensor


def channel_invariance(clean: Tensor, augmented: Tensor) -> Tensor:
    """Mean squared distance between the embeddings of crops before and after augmentation.

    Of embeddings of length 1, where the original has them as they are: so that shrinking them all does not lower the loss.

    Args:
        clean, augmented: [..., D], of length 1.

    Returns:
        A scalar, from 0 to 4.
    """
    return (clean - augmented).square().sum(dim=-1).mean()
