"""Name the signs that a system has learnt little or nothing, from its measures without labels.

The limits are ours, far from what healthy trainings have. On the demo's corpus these have rates on parts of 7 to 21 %, an ARI under
resampling of 0.6 to 0.7, and 1.6 directions or more; one that collapsed has 31 % and 1.05. Rounds that made the error rate worse, on words
of a second, have 1.3.
"""

from collections.abc import Mapping

GUESSING = 0.4  # error rates from here on are near the half that guessing has
ACCIDENTAL = 0.25  # ARI of two clusterings of the same embeddings
FEWEST_DIRECTIONS = 1.5


def doubts(row: Mapping[str, float]) -> list[str]:
    """A sentence for each reason for doubt; none for a measure that is missing (NaN).

    Args:
        row: of `diagnosis.parquet`.
    """
    found = []
    if row["part_eer"] > GUESSING:
        rate = f"EER {100 * row['part_eer']:.0f} %, by guessing 50 %"
        found.append(f"two parts of a recording are hardly more alike than parts of two recordings ({rate})")
    if row["resampling_ari"] < ACCIDENTAL:
        found.append(f"the clusters are an accident of the sample: two halves of it give others (ARI {row['resampling_ari']:.2f})")
    if row["effective_dimensions"] < FEWEST_DIRECTIONS:
        found.append(f"the embeddings vary in hardly more than one direction ({row['effective_dimensions']:.2f} effective dimensions)")
    return found
