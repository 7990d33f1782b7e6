"""Rule `cluster`: pseudo labels of the training corpus from a model's embeddings."""

import faiss
import numpy as np

from selfsv.artifacts import read_embeddings, read_face_embeddings, write_table
from selfsv.clustering.pseudo_labels import cluster, cluster_jointly, label_table
from selfsv.settings.clustering import ClusterSettings
from selfsv.stage import parser, run


def main() -> None:
    """Cluster and write."""
    arguments = parser(__doc__, inputs=("embeddings",), outputs=("output",))
    arguments.add_argument("--seed", type=int, required=True)
    arguments.add_argument("--threads", type=int, default=faiss.omp_get_max_threads())
    arguments.add_argument("--modality", choices=["audio", "joint"], default="audio", help="joint: of voices and faces together")
    args = arguments.parse_args()
    settings = ClusterSettings.read(args.settings)
    faiss.omp_set_num_threads(args.threads)
    utterances, voices = read_embeddings(args.embeddings)
    if args.modality == "joint":
        faces = read_face_embeddings(args.embeddings)
        clustering = cluster_jointly(voices, faces, settings, args.seed)
        table = label_table(utterances, clustering, settings.clusters, voices).assign(has_face=np.isfinite(faces).all(axis=1))
    else:
        table = label_table(utterances, cluster(voices, settings, args.seed), settings.clusters, voices)
    write_table(args.output, table)


if __name__ == "__main__":
    run(main)
