"""Where crops are cut: coverage, overlap, repeatability, and partners from the same cluster."""

import numpy as np
import pytest

from selfsv.data.batches import ClusterPartners, epoch_order, generator, stratified_positions
from selfsv.data.corpus import PackedCorpus


def overlap(starts: np.ndarray, length: float) -> float:
    """Mean pairwise overlap of crops of one utterance, as a fraction of a crop."""
    gaps = np.abs(starts[:, None] - starts[None, :])[np.triu_indices(len(starts), 1)]
    return float(np.maximum(0, 1 - gaps / length).mean())


@pytest.mark.parametrize(("crops", "length"), [(2, 3.0), (4, 2.0)])
def test_stratified_crops_overlap_less_than_independent_ones(crops, length):
    spare, rng = 8.0 - length, np.random.default_rng(0)
    stratified = [overlap(stratified_positions(rng, crops) * spare, length) for _ in range(4000)]
    independent = [overlap(rng.random(crops) * spare, length) for _ in range(4000)]
    assert np.mean(stratified) < 0.8 * np.mean(independent)


def test_each_crop_is_uniform_over_the_utterance():
    rng = np.random.default_rng(0)
    positions = np.array([stratified_positions(rng, 4) for _ in range(8000)])
    for slot in range(4):
        np.testing.assert_allclose(np.histogram(positions[:, slot], bins=8, range=(0, 1))[0] / 8000, 1 / 8, atol=0.02)


def test_there_is_one_crop_per_stratum():
    rng = np.random.default_rng(1)
    for _ in range(200):
        assert sorted(np.floor(4 * stratified_positions(rng, 4)).astype(int)) == [0, 1, 2, 3]


def test_draws_depend_on_seed_stage_epoch_and_utterance_alone():
    base = generator(1, 0, 3, 17).random(4)
    np.testing.assert_array_equal(generator(1, 0, 3, 17).random(4), base)
    for other in ((2, 0, 3, 17), (1, 1, 3, 17), (1, 0, 4, 17), (1, 0, 3, 18)):
        assert not np.array_equal(generator(*other).random(4), base)


def test_an_epoch_visits_every_utterance_once():
    order = epoch_order(1, 0, 5, 1000)
    np.testing.assert_array_equal(np.sort(order), np.arange(1000))
    assert not np.array_equal(order, epoch_order(1, 0, 6, 1000))


def test_partners_come_uniformly_from_the_cluster():
    labels = np.array([0, 1, 1, 0, 1, 2, 1])
    partners, rng = ClusterPartners(labels), np.random.default_rng(0)
    drawn = np.array([partners.draw(rng, 4, 6) for _ in range(3000)])
    assert (drawn[:, 0] == 4).all()
    others, counts = np.unique(drawn[:, 1:], return_counts=True)
    np.testing.assert_array_equal(others, [1, 2, 4, 6])
    np.testing.assert_allclose(counts / counts.sum(), 0.25, atol=0.02)


def test_a_cluster_of_one_is_plain_dino():
    partners = ClusterPartners(np.array([0, 1, 1, 2]))
    np.testing.assert_array_equal(partners.draw(np.random.default_rng(0), 3, 6), [3] * 6)
    np.testing.assert_array_equal(partners.draw(np.random.default_rng(0), 0, 6), [0] * 6)


def test_partners_can_come_from_another_cluster():
    """Cluster 0 draws from 1, 1 from 2, and 2, which nothing is near to, from itself."""
    partners, rng = ClusterPartners(np.array([0, 1, 1, 0, 2]), np.array([1, 2, 2])), np.random.default_rng(0)
    drawn = {utterance: np.array([partners.draw(rng, utterance, 3) for _ in range(200)]) for utterance in range(5)}
    assert all((rows[:, 0] == utterance).all() for utterance, rows in drawn.items())
    sources = {utterance: set(rows[:, 1:].flatten()) for utterance, rows in drawn.items()}
    assert sources == {0: {1, 2}, 1: {4}, 2: {4}, 3: {1, 2}, 4: {4}}


def test_crops_are_the_utterances_own_samples(packed):
    corpus = PackedCorpus(*packed.paths)
    longest = int(corpus.num_samples.argmax())
    samples = corpus.samples(longest)
    np.testing.assert_array_equal(corpus.crop(longest, 0.0, 16_000), samples[:16_000])
    np.testing.assert_array_equal(corpus.crop(longest, 1 - 1e-9, 16_000), samples[-16_000:])


def test_a_short_utterance_is_tiled(packed):
    corpus = PackedCorpus(*packed.paths)
    samples = corpus.samples(0)
    crop = corpus.crop(0, 0.7, 3 * len(samples) + 5)
    np.testing.assert_array_equal(crop, np.tile(samples, 4)[: len(crop)])
