"""Schedules at the points that the paper names."""

import math
from itertools import pairwise

import pytest

from selfsv.engine.diagnostics import collapse, extreme_gate
from selfsv.engine.optimisation import margin_ramp, warmup_then_cosine, warmup_then_exponential


def test_pretraining_rate_is_the_papers():
    """Linear from 0 to 0.2 over 20 epochs, then cosine to 1e-5 at 150 (paper V-D1)."""
    rates = {epoch: warmup_then_cosine(epoch, 150, 20, 0.2, 1e-5) for epoch in (0, 10, 20, 85, 150)}
    assert rates == pytest.approx({0: 0.0, 10: 0.1, 20: 0.2, 85: (0.2 + 1e-5) / 2, 150: 1e-5})


def test_training_rate_is_the_papers():
    """Exponential from 0.1 to 5e-5 over 100 epochs (paper V-E1): the same factor in every epoch."""
    rates = [warmup_then_exponential(epoch, 100, 0, 0.1, 5e-5) for epoch in range(101)]
    assert rates[0] == pytest.approx(0.1) and rates[-1] == pytest.approx(5e-5)
    factors = {round(later / earlier, 12) for earlier, later in pairwise(rates)}
    assert factors == {round((5e-5 / 0.1) ** 0.01, 12)}


def test_warmup_multiplies_the_exponential():
    assert warmup_then_exponential(2, 100, 4, 0.1, 5e-5) == pytest.approx(0.5 * warmup_then_exponential(2, 100, 0, 0.1, 5e-5))


def test_margin_ramp():
    margins = [margin_ramp(epoch, 5, 10, 0.2) for epoch in (0, 5, 7.5, 10, 50)]
    assert margins == pytest.approx([0, 0, 0.1, 0.2, 0.2])
    assert margin_ramp(0, 0, 0, 0.2) == 0.2


@pytest.mark.parametrize(
    ("loss", "teacher", "mean", "sign"),
    [
        (5.0, 2.0, 5.0, ""),
        (math.log(1024), 3.0, 5.0, "pinned at ln K"),
        (6.0, math.log(1024), 6.9, "uniform"),
        (0.1, 0.0, 0.0, "same prototype"),
        (4.0, 0.0, 5.0, "one-hot"),
    ],
)
def test_collapse_is_called_by_its_name(loss, teacher, mean, sign):
    warning = collapse(loss, teacher, mean, 1024)
    assert (sign in warning) and (bool(warning) == bool(sign))


@pytest.mark.parametrize(("reliable", "sign"), [(0.9995, "keeps nearly everything"), (0.01, "drops nearly everything"), (0.6, "")])
def test_extreme_gates_are_called_by_their_name(reliable, sign):
    warning = extreme_gate(reliable, 0.0)
    assert (sign in warning) and (bool(warning) == bool(sign))
