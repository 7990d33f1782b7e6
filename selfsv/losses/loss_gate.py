"""The dynamic loss-gate: a threshold on the clean loss from a two-component mixture (paper IV-A)."""

import logging
import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from torch import Tensor

log = logging.getLogger(__name__)

# A component that holds less than this share of the utterances, or is narrower than this, models no group of them.
LEAST_WEIGHT = 0.005
LEAST_DEVIATION = 1e-3
SMALLEST_LOSS = 1e-30
# The mixture is fitted to this many means of neighbouring losses at most. A million losses and their ten thousand means give
# the same threshold within half a percent, and a hundred times faster.
MOST_POINTS = 10_000
# EM creeps where the components overlap: per iteration the mean log-likelihood then gains 1e-6 while the threshold is still a
# tenth from its end. scikit-learn's default of 1e-3 stops after a handful of iterations, up to 40 % too low.
TOLERANCE = 1e-10
MOST_ITERATIONS = 5000


@dataclass(frozen=True)
class Mixture:
    """Two Gaussians over the log of the clean loss, the one of lower mean first (Eq. 7)."""

    weights: tuple[float, float]
    means: tuple[float, float]
    variances: tuple[float, float]
    converged: bool = True

    @property
    def vanished(self) -> bool:
        """Whether a component models no group of utterances."""
        return min(self.weights) < LEAST_WEIGHT or min(self.variances) < LEAST_DEVIATION**2


def fit_mixture(losses: np.ndarray, start: Mixture | None = None) -> Mixture:
    """The two-component Gaussian mixture of greatest likelihood on log losses, by expectation maximisation until it has converged.

    Args:
        losses: [N] clean losses of all utterances of an epoch, nats.
        start: where EM begins, such as the mixture of the epoch before; else at the two halves of the sorted losses. Neither
            depends on chance: the same losses give the same mixture.
    """
    values = _summarised(np.log(np.maximum(losses.astype(np.float64), SMALLEST_LOSS)))
    if start is None:
        halves = np.array_split(values, 2)
        least = LEAST_DEVIATION**2
        start = Mixture((0.5, 0.5), _pair([half.mean() for half in halves]), _pair([max(half.var(), least) for half in halves]))
    model = GaussianMixture(
        2,
        weights_init=start.weights,
        means_init=np.reshape(start.means, (2, 1)),
        precisions_init=1 / np.reshape(start.variances, (2, 1, 1)),  # without these scikit-learn starts from k-means after all
        tol=TOLERANCE,
        max_iter=MOST_ITERATIONS,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # `converged` says it
        model.fit(values[:, None])
    order = np.argsort(model.means_[:, 0])
    weights, means, variances = model.weights_[order], model.means_[order, 0], model.covariances_[order, 0, 0]
    return Mixture(_pair(weights), _pair(means), _pair(variances), bool(model.converged_))


def _summarised(values: np.ndarray) -> np.ndarray:
    """`values` in order; of many, the means of equal groups of neighbours, which keep the shape of their distribution."""
    values = np.sort(values)
    if len(values) <= MOST_POINTS:
        return values
    return np.array([group.mean() for group in np.array_split(values, MOST_POINTS)])


def _pair(values: np.ndarray | list[float]) -> tuple[float, float]:
    low, high = values
    return float(low), float(high)


def crossing(mixture: Mixture) -> float | None:
    """The loss at which the two weighted densities are equal, between their means (Eq. 8), on the log scale; None where there is none.

    log of (weight times density) is a parabola for each component, so equality is a quadratic equation. Of its roots
    the one between the means separates the groups; with two roots there the upper one does, above which the component
    of the higher mean prevails.
    """
    if mixture.vanished:
        return None
    (w1, w2), (m1, m2), (v1, v2) = mixture.weights, mixture.means, mixture.variances
    quadratic = 0.5 / v2 - 0.5 / v1
    linear = m1 / v1 - m2 / v2
    constant = np.log(w1 / w2) + 0.5 * np.log(v2 / v1) + 0.5 * (m2**2 / v2 - m1**2 / v1)
    if abs(quadratic) < 1e-12 * (1 / v1 + 1 / v2):
        roots = np.array([-constant / linear]) if linear else np.array([])
    else:
        solutions = np.roots([quadratic, linear, constant])
        roots = solutions[np.isreal(solutions)].real
    between = roots[(roots > m1) & (roots < m2)]
    return float(between.max()) if len(between) else None


def clean_posterior(losses: Tensor, mixture: Mixture) -> Tensor:
    """[B] probability that a loss comes from the mixture's component of lower mean, the losses of right labels.

    Below that component's mean it does not fall again, as that of a narrow component would: less loss is no less trust.

    Args:
        losses: [B] nats.
    """
    values = losses.double().clamp(min=SMALLEST_LOSS).log().clamp(min=mixture.means[0]).unsqueeze(1)
    weights, means, variances = (values.new_tensor(values_of) for values_of in (mixture.weights, mixture.means, mixture.variances))
    log_densities = weights.log() - 0.5 * variances.log() - 0.5 * (values - means).square() / variances
    return log_densities.softmax(dim=1)[:, 0].to(losses.dtype)


@dataclass(frozen=True)
class GateFit:
    """A gate after an epoch: the threshold on the clean loss (None: no gate yet), the mixture, and how it came about."""

    threshold: float | None
    mixture: Mixture
    status: str


def refit(losses: np.ndarray, previous: float | None, start: Mixture | None = None) -> GateFit:
    """tau_1 for the next epoch from the losses of the last one; the previous tau_1 where the mixture gives none.

    Args:
        losses: [N] clean losses, nats.
        previous: the threshold so far, or None.
        start: the last epoch's mixture, near which this epoch's is likely to be. Where it leads to no threshold, the fit
            begins once more without it.
    """
    starts = [None] if start is None or start.vanished else [start, None]
    for begin in starts:
        mixture = fit_mixture(losses, begin)
        log_threshold = crossing(mixture)
        if log_threshold is not None:
            break
    if not mixture.converged:
        log.warning("the gate's mixture has not converged in %d iterations: tau_1 is uncertain", MOST_ITERATIONS)
    if log_threshold is not None:
        return GateFit(float(np.exp(log_threshold)), mixture, "fitted" if mixture.converged else "fitted: not converged")
    reason = "a component vanished" if mixture.vanished else "the densities do not cross between their means"
    return GateFit(previous, mixture, f"kept: {reason}")
