"""The faces in the report of an audio-visual experiment: how many were found, and what they look like in each cluster."""

import base64
from typing import Any

import numpy as np
import pandas as pd

from selfsv.report.collect import Results
from selfsv.report.corpora import rejections

CLUSTERS, FACES = 12, 8  # shown, and per cluster
CLUSTER_BYTES = 60_000  # of images: with them a page grows by less than 1 MB, whatever the files hold
JPEG = b"\xff\xd8\xff"


def detection(results: Results) -> dict[str, Any] | None:
    """Counts of the face detection on the training corpus, and rejected utterances with the reasons; None where none was run."""
    manifest = results.face_manifest()
    if manifest is None:
        return None
    usable = manifest["status"] == "ok"
    frames, detected, faces = (int(manifest[column].sum()) for column in ("frames", "detected", "faces"))
    return {
        "corpus": results.settings.train_corpus,
        "utterances": len(manifest),
        "usable": int(usable.sum()),
        "usable_percent": _percent(int(usable.sum()), len(manifest)),
        "frames": frames,
        "detected": detected,
        "detected_percent": _percent(detected, frames),
        "kept": faces,
        "kept_percent": _percent(faces, frames),
        "median": f"{manifest.loc[usable, 'faces'].median():g}" if usable.any() else None,
        **rejections(manifest[~usable]),
    }


def _percent(part: int, whole: int) -> str | None:
    return f"{100 * part / whole:.1f} %" if whole else None


def cluster_faces(results: Results) -> dict[str, Any] | None:
    """Faces from some clusters of the last system that has been clustered, largest cluster first; None where there are none."""
    found = ((system, results.labelled(system)) for system in reversed(results.trained))
    system, labels = next(((system, labels) for system, labels in found if labels is not None), ("", None))
    if labels is None:
        return None
    chosen = chosen_utterances(labels, results.face_manifest())
    images = results.first_faces({utterance for utterances in chosen.values() for utterance in utterances})
    sizes = labels["label"].value_counts()
    shown = [
        {"label": label, "size": int(sizes[label]), "faces": faces}
        for label, utterances in chosen.items()
        if (faces := embedded([(utterance, images.get(utterance)) for utterance in utterances]))
    ]
    return {"system": results.title(system), "number": sizes.size, "each": FACES, "shown": shown} if shown else None


def chosen_utterances(labels: pd.DataFrame, manifest: pd.DataFrame | None) -> dict[int, list[str]]:
    """Utterances with a face by cluster: of clusters spread over the range of sizes, largest first, and spread over each.

    Args:
        labels: `utterance` and `label`.
        manifest: names the utterances that have a face; without it any may be chosen.
    """
    if manifest is not None:
        with_face = manifest.loc[(manifest["status"] == "ok") & (manifest["faces"] > 0), "utterance"]
        seen = labels[labels["utterance"].isin(with_face)]
    else:
        seen = labels
    sizes = labels["label"].value_counts().loc[seen["label"].unique()]
    # Where sizes are equal the number decides: the same run gives the same page.
    by_size = sizes.sort_index().sort_values(ascending=False, kind="stable").index.to_numpy()
    chosen = {}
    for label in from_end_to_end(by_size, CLUSTERS):
        members = np.sort(seen.loc[seen["label"] == label, "utterance"].to_numpy(str))
        chosen[int(label)] = [str(utterance) for utterance in from_each_part(members, FACES)]
    return chosen


def from_end_to_end(values: np.ndarray, number: int) -> np.ndarray:
    """Up to `number` of `values` at equal distances, the first and the last among them."""
    return values[np.linspace(0, len(values) - 1, min(number, len(values))).round().astype(int)]


def from_each_part(values: np.ndarray, number: int) -> np.ndarray:
    """Up to `number` of `values`, each from the middle of an equal part: in order of name the ends are seldom typical."""
    parts = min(number, len(values))
    return values[((np.arange(parts) + 0.5) * len(values) / max(parts, 1)).astype(int)]


def embedded(faces: list[tuple[str, bytes | None]]) -> list[tuple[str, str]]:
    """The faces of one cluster that are JPEG files, as base64, up to `CLUSTER_BYTES` of them.

    Args:
        faces: utterance and image.
    """
    shown, room = [], CLUSTER_BYTES
    for utterance, image in faces:
        # A page must carry nothing but pictures, whatever the column holds.
        if isinstance(image, bytes) and image.startswith(JPEG) and len(image) <= room:
            room -= len(image)
            shown.append((utterance, base64.b64encode(image).decode()))
    return shown
