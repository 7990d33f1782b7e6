"""What the spectrum of the embeddings does to their cosines: error rates before and after whitening, and how many directions count.

    python benchmarks/whitening.py results/demo

The directions and variances are those of the training corpus, which no label is needed for. Prints a table in Markdown.
"""

import logging
import sys
from pathlib import Path

import numpy as np
from sklearn.decomposition import PCA

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # `pipeline`, also where the project is not installed

from selfsv.artifacts import read_embeddings, read_labels, read_table
from selfsv.cluster_means import cluster_means
from selfsv.clustering.kmeans import spherical_kmeans
from selfsv.clustering.preparation import SMALLEST_VARIANCE, centred_unit
from selfsv.clustering.quality import normalised_mutual_information
from selfsv.scoring.cosine import cosine_scores, unit_length
from selfsv.scoring.error_rates import equal_error_rate, operating_points
from selfsv.scoring.snorm import cohort_statistics, normalised_scores
from selfsv.scoring.systems import order, title
from selfsv.settings.experiment import Experiment, recorded
from selfsv.settings.stage_one import stage_one_title

WHITENINGS = (0.0, 0.5, 1.0)
EFFORT = {"iterations": 25, "points_per_cluster": 256, "restarts": 5, "seed": 1}


def main() -> None:
    """A line per system, a column per degree of whitening."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    logging.disable(logging.WARNING)
    settings = recorded(folder / "settings.json")
    columns = [f"whitening {whitening}: EER, cosine / s-norm; NMI" for whitening in WHITENINGS]
    print("| system | share of the first direction | effective dimensions |", " | ".join(columns), "|")
    print("|---|---|---|" + "---|" * len(columns))
    for system in sorted((path.parent.name for path in folder.glob("*/model.pt")), key=order):
        print(f"| {title(system, stage_one_title(settings))} | {' | '.join(cells(folder, system, settings))} |")


def cells(folder: Path, system: str, settings: Experiment) -> list[str]:
    """Of one system's line, on the first trial list."""
    name, trials = next(iter(settings.trials.items()))
    utterances, train = read_embeddings(folder / system / "embeddings" / f"{settings.train_corpus}.parquet")
    known, test = read_embeddings(folder / system / "embeddings" / f"{trials.corpus}.parquet")
    scored = read_table(folder / system / "scores" / f"{name}.parquet", ["enroll", "test", "target"])
    pairs = tuple(np.searchsorted(known, scored[side].to_numpy(), sorter=np.argsort(known)) for side in ("enroll", "test"))
    pairs = tuple(np.argsort(known)[side] for side in pairs)
    speakers = read_table(folder / "data" / settings.train_corpus / "speakers.parquet", ["utterance", "speaker"])
    who = speakers.set_index("utterance")["speaker"].reindex(utterances).to_numpy()
    labels = read_labels(folder / system / "pseudo_labels.parquet").set_index("utterance")["label"].reindex(utterances).to_numpy()
    clusters = len(np.unique(labels))
    variances = PCA().fit(train).explained_variance_
    shares = variances / variances.sum()
    made = [f"{100 * shares[0]:.0f} %", f"{1 / np.square(shares).sum():.1f}"]
    for whitening in WHITENINGS:
        turned_train, turned_test = turned(train, test, whitening)
        found = spherical_kmeans(centred_unit(turned_train, subtract_mean=False), clusters, **EFFORT).labels
        rates = error_rates(turned_train, turned_test, found, pairs, scored["target"].to_numpy())
        made.append(f"{100 * rates[0]:.2f} / {100 * rates[1]:.2f}; {normalised_mutual_information(who, found):.3f}")
    return made


def turned(train: np.ndarray, test: np.ndarray, whitening: float) -> tuple[np.ndarray, np.ndarray]:
    """Both, with the mean of `train` subtracted and its principal directions' variances brought towards each other."""
    directions = PCA().fit(train)
    variances = directions.explained_variance_ / directions.explained_variance_[0]
    scales = np.maximum(variances, SMALLEST_VARIANCE) ** (-whitening / 2)
    one, other = (directions.transform(embeddings) * scales for embeddings in (train, test))
    return one, other


def error_rates(
    train: np.ndarray, test: np.ndarray, labels: np.ndarray, pairs: tuple[np.ndarray, ...], target: np.ndarray
) -> tuple[float, float]:
    """EER by cosine and by s-norm against the clusters' means."""
    units, cohort = unit_length(test), unit_length(cluster_means(train.astype(np.float32), labels))
    cosine = cosine_scores(units, *pairs)
    snorm = normalised_scores(cosine, *pairs, *cohort_statistics(units, cohort, len(cohort)))
    by_cosine, by_snorm = (equal_error_rate(*operating_points(scores, target)) for scores in (cosine, snorm))
    return by_cosine, by_snorm


if __name__ == "__main__":
    main()
