"""S-norm over several chunks, and with a cohort that has no spread."""

import numpy as np
import pytest

from selfsv.scoring import snorm
from selfsv.scoring.cosine import unit_length
from selfsv.scoring.snorm import cohort_statistics


@pytest.fixture
def drawn() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    return unit_length(generator.normal(size=(40, 16))), unit_length(generator.normal(size=(25, 16)))


@pytest.mark.parametrize("rows", [1, 7, 40])
def test_chunks_make_no_difference(drawn, monkeypatch, rows):
    units, cohort = drawn
    whole = cohort_statistics(units, cohort, 10)
    monkeypatch.setattr(snorm, "CHUNK_SCORES", rows * len(cohort))
    np.testing.assert_allclose(cohort_statistics(units, cohort, 10), whole, atol=1e-6)


@pytest.mark.parametrize("copies", [1, 4])
def test_a_cohort_without_spread_only_shifts_scores(drawn, copies):
    units, cohort = drawn
    mean, deviation = cohort_statistics(units, np.repeat(cohort[:1], copies, axis=0), 300)
    assert (deviation == 1).all()
    np.testing.assert_allclose(mean, units @ cohort[0], atol=1e-6)


@pytest.mark.parametrize("top", [5, 24, 300])
def test_an_utterance_is_not_compared_with_its_own_member(drawn, top):
    """As if that member were not there."""
    units, cohort = drawn
    own = np.arange(len(units)) % len(cohort)
    mean, deviation = cohort_statistics(units, cohort, top, own)
    for row, member in enumerate(own):
        alone = cohort_statistics(units[row : row + 1], np.delete(cohort, member, axis=0), top)
        np.testing.assert_allclose([mean[row], deviation[row]], np.concatenate(alone), atol=1e-6)


def test_alone_with_its_own_member_a_score_stays_as_it_is(drawn):
    units, cohort = drawn
    mean, deviation = cohort_statistics(units, cohort[:1], 300, np.zeros(len(units), np.int64))
    assert (mean == 0).all() and (deviation == 1).all()
