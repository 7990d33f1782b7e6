"""Figures on clusters against closed forms and scikit-learn, and the paper's Table I."""

import numpy as np
import pytest
from sklearn.metrics import v_measure_score

from selfsv.clustering.quality import cluster_sizes, normalised_mutual_information, purity
from selfsv.report.corpora import repeat_probability


def test_equal_partitions_agree_whatever_their_names():
    speakers = np.array(["a", "a", "b", "c", "c"])
    assert normalised_mutual_information(speakers, np.array([2, 2, 0, 1, 1])) == pytest.approx(1.0)
    assert purity(speakers, np.array([2, 2, 0, 1, 1])) == 1.0


def test_nmi_is_the_v_measure():
    rng = np.random.default_rng(0)
    speakers, labels = rng.integers(9, size=300), rng.integers(14, size=300)
    assert normalised_mutual_information(speakers, labels) == pytest.approx(v_measure_score(speakers, labels))


def test_purity_counts_the_majority_of_each_cluster():
    speakers, labels = np.array(list("aaabbbcc")), np.array([0, 0, 1, 1, 1, 2, 2, 2])
    assert purity(speakers, labels) == pytest.approx((2 + 2 + 2) / 8)


def test_sizes_count_empty_clusters():
    np.testing.assert_array_equal(cluster_sizes(np.array([0, 3, 3])), [1, 0, 0, 2])


@pytest.mark.parametrize(("batch", "probability"), [(16, 0.020), (32, 0.080), (64, 0.286), (128, 0.745), (256, 0.996)])
def test_repeated_speakers_are_the_papers_table_i(batch, probability):
    assert repeat_probability(5994, batch) == pytest.approx(probability, abs=5e-4)
