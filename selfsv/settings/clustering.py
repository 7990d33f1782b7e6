"""Settings of k-means."""

from typing import Literal, Self

from pydantic import Field, model_validator

from selfsv.settings.section import Fraction, Positive, Section


class PreparationSettings(Section):
    """What embeddings go through before they are clustered: for the pseudo labels and within CA-DINO alike."""

    subtract_mean: bool = Field(False, description="subtract the corpus's mean embedding first [paper: no]")
    whitening: Fraction = Field(
        0.0,
        description="how far the variances of the embeddings' principal directions are made alike first: 0 not at all, 1 wholly [paper: none]",
    )


class AgglomerativeSettings(Section):
    """Agglomerative clustering of a finer k-means (paper Table X: IDLab, JHU, SNU)."""

    centroids: Positive | None = Field(
        None,
        description="of the finer k-means, merged until `clusters` are left; a corpus of fewer utterances is merged without it; "
        "empty: k-means alone [paper V-E1; IDLab: 50,000]",
    )
    linkage: Literal["ward", "average"] = Field("ward", description="ward, or average (of cosines) [Lepage and Dehak 2024: ward]")


class ClusterSettings(PreparationSettings):
    """Pseudo labels: spherical k-means on L2-normalised embeddings (paper V-E1)."""

    clusters: Positive = Field(7500, description="K, the number of pseudo speakers [paper V-E1]")
    iterations: Positive = Field(25, description="of k-means [faiss's default]")
    restarts: Positive = Field(1, description="k-means runs, of which the best is kept [ours]")
    points_per_cluster: Positive = Field(
        256, description="at most this many utterances per cluster are used to find the centroids [faiss's default]"
    )
    agglomerative: AgglomerativeSettings = AgglomerativeSettings()

    @model_validator(mode="after")
    def _has_more_centroids_than_clusters(self) -> Self:
        centroids = self.agglomerative.centroids
        if centroids is not None and centroids < self.clusters:
            raise ValueError(f"agglomerative.centroids: {centroids} cannot be merged into {self.clusters} clusters")
        return self
