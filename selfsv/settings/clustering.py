"""Settings of k-means."""

from pydantic import Field

from selfsv.settings.section import Fraction, Positive, Section


class PreparationSettings(Section):
    """What embeddings go through before they are clustered: for the pseudo labels and within CA-DINO alike."""

    subtract_mean: bool = Field(False, description="subtract the corpus's mean embedding first [paper: no]")
    whitening: Fraction = Field(
        0.0,
        description="how far the variances of the embeddings' principal directions are made alike first: 0 not at all, 1 wholly [paper: none]",
    )


class ClusterSettings(PreparationSettings):
    """Pseudo labels: spherical k-means on L2-normalised embeddings (paper V-E1)."""

    clusters: Positive = Field(7500, description="K, the number of pseudo speakers [paper V-E1]")
    iterations: Positive = Field(25, description="of k-means [faiss's default]")
    restarts: Positive = Field(1, description="k-means runs, of which the best is kept [ours]")
    points_per_cluster: Positive = Field(
        256, description="at most this many utterances per cluster are used to find the centroids [faiss's default]"
    )
