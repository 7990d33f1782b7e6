"""Rule `cluster`: pseudo labels of the training corpus from a model's embeddings."""

import logging
from functools import partial

import faiss
import numpy as np
import pandas as pd

from selfsv.artifacts import read_embeddings, read_face_embeddings, write_table
from selfsv.clustering.joint import joint_clustering
from selfsv.clustering.kmeans import centred_unit, spherical_kmeans
from selfsv.settings.clustering import ClusterSettings
from selfsv.stage import parser, run

LOG = logging.getLogger("selfsv")
ALIKE = 1e-4  # embeddings of one recording differ by less in each dimension, whatever batches they were in


def main() -> None:
    """Cluster and write."""
    made = parser(__doc__, inputs=("embeddings",), outputs=("output",))
    made.add_argument("--seed", type=int, required=True)
    made.add_argument("--threads", type=int, default=faiss.omp_get_max_threads())
    made.add_argument("--modality", choices=["audio", "joint"], default="audio", help="joint: of voices and faces together")
    args = made.parse_args()
    settings = ClusterSettings.read(args.settings)
    faiss.omp_set_num_threads(args.threads)
    utterances, embeddings = read_embeddings(args.embeddings)
    prepared = partial(centred_unit, subtract_mean=settings.subtract_mean, whitening=settings.whitening)
    voices = prepared(embeddings)
    del embeddings  # as large as the voices
    cluster = partial(
        spherical_kmeans,
        clusters=settings.clusters,
        iterations=settings.iterations,
        points_per_cluster=settings.points_per_cluster,
        restarts=settings.restarts,
        seed=args.seed,
    )
    columns = {}
    if args.modality == "joint":
        faces = read_face_embeddings(args.embeddings)
        found = joint_clustering(voices, prepared(faces), cluster)
        columns = {"has_face": np.isfinite(faces).all(axis=1)}
    else:
        found = cluster(voices)
    # Labels are numbered without gaps, so that a classifier has no class that nothing belongs to.
    used, labels = np.unique(found.labels, return_inverse=True)
    if len(used) < settings.clusters:
        LOG.warning("%s", empty_clusters(len(used), settings.clusters, voices))
    table = pd.DataFrame({"utterance": utterances, "label": labels.astype(np.int32), "similarity": found.similarity, **columns})
    write_table(args.output, table)


def empty_clusters(used: int, clusters: int, unit: np.ndarray) -> str:
    """Words on clusters without members, most often a corpus that holds its recordings several times.

    Args:
        unit: [N, D] what was clustered.
    """
    rounded = np.rint(unit / ALIKE).astype(np.int16)
    _, counts = np.unique(rounded.view(f"V{rounded[0].nbytes}"), return_counts=True)
    identical = int(counts[counts > 1].sum())
    words = f"{used} of {clusters} clusters have members; {identical} of {len(unit)} utterances are identical to another"
    advice = "remove copies of recordings from the corpus" if identical else "lower 'cluster.clusters'"
    return f"{words}: {advice}"


if __name__ == "__main__":
    run(main)
