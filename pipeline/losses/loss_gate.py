"""The dynamic loss-gate: a threshold on the clean loss from a two-component mixture (paper IV-A)."""

from dataclasses import dataclass

import numpy as np
from sklearn.mixture import GaussianMixture

# A component that holds less than this share of the utterances, or is narrower than this, models no group of them.
LEAST_WEIGHT = 0.005
LEAST_DEVIATION = 1e-3
SMALLEST_LOSS = 1e-30
ENOUGH_TO_FIT = 200_000


@dataclass(frozen=True)
class Mixture:
    """Two Gaussians over the log of the clean loss, the one of lower mean first (Eq. 7)."""

    weights: tuple[float, float]
    means: tuple[float, float]
    variances: tuple[float, float]


def fit_mixture(losses: np.ndarray, seed: int) -> Mixture:
    """A two-component Gaussian mixture on log losses.

    Args:
        losses: [N] clean losses of all utterances of an epoch, nats.
        seed: of the subsample (above 200,000 utterances the fit no longer gains from more) and of the fit.
    """
    values = np.log(np.maximum(losses.astype(np.float64), SMALLEST_LOSS))
    if len(values) > ENOUGH_TO_FIT:
        values = np.random.default_rng(seed).choice(values, ENOUGH_TO_FIT, replace=False)
    # Started from the two halves of the sorted losses rather than from k-means: the same data give the same mixture.
    halves = np.array_split(np.sort(values), 2)
    fitted = GaussianMixture(2, means_init=[[half.mean()] for half in halves], weights_init=[0.5, 0.5], max_iter=500, random_state=seed)
    fitted.fit(values[:, None])
    order = np.argsort(fitted.means_[:, 0])
    pick = [fitted.weights_[order], fitted.means_[order, 0], fitted.covariances_[order, 0, 0]]
    weights, means, variances = ((float(low), float(high)) for low, high in pick)
    return Mixture(weights, means, variances)


def crossing(mixture: Mixture) -> float | None:
    """Where the two weighted densities are equal, between their means (Eq. 8), on the log scale; None where they are not.

    log of (weight times density) is a parabola for each component, so equality is a quadratic equation. Of its roots
    the one between the means separates the groups; with two roots there the upper one does, above which the component
    of the higher mean prevails.
    """
    (w1, w2), (m1, m2), (v1, v2) = mixture.weights, mixture.means, mixture.variances
    if min(w1, w2) < LEAST_WEIGHT or min(v1, v2) < LEAST_DEVIATION**2:
        return None
    quadratic = 0.5 / v2 - 0.5 / v1
    linear = m1 / v1 - m2 / v2
    constant = np.log(w1 / w2) + 0.5 * np.log(v2 / v1) + 0.5 * (m2**2 / v2 - m1**2 / v1)
    if abs(quadratic) < 1e-12 * (1 / v1 + 1 / v2):
        roots = np.array([-constant / linear]) if linear else np.array([])
    else:
        found = np.roots([quadratic, linear, constant])
        roots = found[np.isreal(found)].real
    between = roots[(roots > m1) & (roots < m2)]
    return float(between.max()) if len(between) else None


@dataclass(frozen=True)
class GateFit:
    """A gate after an epoch: the threshold on the clean loss (None: no gate yet), the mixture, and how it came about."""

    threshold: float | None
    mixture: Mixture
    status: str


def refit(losses: np.ndarray, previous: float | None, seed: int) -> GateFit:
    """tau_1 for the next epoch from the losses of the last one; the previous tau_1 where the mixture gives none.

    Args:
        losses: [N] clean losses, nats.
        previous: the threshold so far, or None.
    """
    mixture = fit_mixture(losses, seed)
    at = crossing(mixture)
    if at is not None:
        return GateFit(float(np.exp(at)), mixture, "fitted")
    vanished = min(mixture.weights) < LEAST_WEIGHT or min(mixture.variances) < LEAST_DEVIATION**2
    reason = "a component vanished" if vanished else "the densities do not cross between their means"
    return GateFit(previous, mixture, f"kept: {reason}")
