"""Rule `modalities`: how well clusters of voices alone, of faces alone, and of both agree with speakers where these are known."""

import faiss
import numpy as np
import pandas as pd

from selfsv.artifacts import read_embeddings, read_face_embeddings, read_labels, read_table, write_table
from selfsv.clustering.pseudo_labels import cluster
from selfsv.clustering.quality import normalised_mutual_information, purity
from selfsv.settings.clustering import ClusterSettings
from selfsv.stage import parser, run


def main() -> None:
    """Cluster each half of the embeddings as the pseudo labels were, compare all three on the utterances that have a face, and write."""
    arguments = parser(__doc__, inputs=("embeddings", "pseudo_labels", "speakers"), outputs=("output",))
    arguments.add_argument("--seed", type=int, required=True)
    arguments.add_argument("--threads", type=int, default=faiss.omp_get_max_threads())
    args = arguments.parse_args()
    settings = ClusterSettings.read(args.settings)
    faiss.omp_set_num_threads(args.threads)
    utterances, voices = read_embeddings(args.embeddings)
    faces = read_face_embeddings(args.embeddings)
    seen = np.isfinite(faces).all(axis=1)
    joint = read_labels(args.pseudo_labels).set_index("utterance")["label"].reindex(utterances[seen]).to_numpy()
    labels = {name: cluster(embeddings[seen], settings, args.seed).labels for name, embeddings in (("audio", voices), ("face", faces))}
    speakers = read_table(args.speakers, ["utterance", "speaker"]).set_index("utterance")["speaker"].reindex(utterances[seen])
    rows = [agreement(name, found, speakers) for name, found in {**labels, "joint": joint}.items()]
    write_table(args.output, pd.DataFrame(rows))


def agreement(modality: str, labels: np.ndarray, speakers: pd.Series) -> dict[str, object]:
    """One row; `nmi` and `purity` are over the utterances of known speaker, and NaN without any."""
    known = speakers.notna().to_numpy()
    pair = speakers[known].to_numpy(), labels[known]
    return {
        "modality": modality,
        "clusters": len(np.unique(labels)),
        "nmi": normalised_mutual_information(*pair) if known.any() else float("nan"),
        "purity": purity(*pair) if known.any() else float("nan"),
        "utterances_with_speaker": int(known.sum()),
    }


if __name__ == "__main__":
    run(main)
