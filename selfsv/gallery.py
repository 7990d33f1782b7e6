"""A gallery: the known speakers, a row of a Parquet file for each of their recordings."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.artifacts import read_arrow, write_table
from pipeline.errors import InputError
from selfsv.speaker_model import Norm, SpeakerModel

FINGERPRINT = b"selfsv.model"  # key of the file's metadata: embeddings of other models mean nothing here


class Gallery:
    """Speakers and the embeddings of their recordings.

    Args:
        model: whose embeddings these are.
    """

    def __init__(self, model: SpeakerModel, rows: dict[tuple[str, str], np.ndarray] | None = None):
        self._model = model
        self._rows = rows or {}

    @classmethod
    def open(cls, path: Path, model: SpeakerModel) -> "Gallery":
        """The gallery in the file at `path`.

        Raises:
            InputError: it is missing, is no gallery, or belongs to another model.
        """
        if not path.exists():
            raise InputError(f"the gallery {path} does not exist: enroll somebody first")
        table = read_arrow(path, ["speaker", "recording", "embedding"])
        owner = (table.schema.metadata or {}).get(FINGERPRINT, b"").decode()
        if owner != model.fingerprint:
            raise InputError(f"the gallery {path} belongs to another model ({owner or 'unknown'}, not {model.fingerprint}): use that one")
        size = model.dimensions
        names = zip(table["speaker"].to_pylist(), table["recording"].to_pylist(), strict=True)
        embeddings = [np.asarray(row, np.float32) for row in table["embedding"].to_pylist()]
        if any(row.shape != (size,) or not np.isfinite(row).all() for row in embeddings):
            raise InputError(f"the gallery {path} is damaged: its embeddings are not {size} finite values each")
        return cls(model, dict(zip(names, embeddings, strict=True)))

    def add(self, speaker: str, recording: str, embedding: np.ndarray) -> None:
        """A recording of a speaker; the same recording replaces its earlier self."""
        self._rows[speaker, recording] = embedding

    def remove(self, speaker: str) -> int:
        """Forget a speaker; how many recordings that were.

        Raises:
            InputError: the gallery does not know the speaker.
        """
        mine = [key for key in self._rows if key[0] == speaker]
        if not mine:
            raise InputError(f"nobody in the gallery is called '{speaker}': it knows {', '.join(self.speakers) or 'nobody'}")
        for key in mine:
            del self._rows[key]
        return len(mine)

    @property
    def speakers(self) -> list[str]:
        """Their names, sorted."""
        return sorted({speaker for speaker, _ in self._rows})

    def counts(self) -> dict[str, int]:
        """How many recordings each speaker has."""
        return {name: sum(speaker == name for speaker, _ in self._rows) for name in self.speakers}

    def scores(self, embeddings: np.ndarray, norm: Norm = "cosine") -> np.ndarray:
        """[N, S] scores of embeddings [N, D] with each speaker, in the order of `speakers`.

        A speaker stands for the mean direction of the recordings.

        Raises:
            InputError: nobody is enrolled.
        """
        if not self._rows:
            raise InputError("the gallery is empty: enroll somebody first")
        return self._model.compare_all(embeddings, np.stack([self._centre(name) for name in self.speakers]), norm)

    def _centre(self, name: str) -> np.ndarray:
        """[D], such that comparing with it compares with the mean of the speaker's directions."""
        directions = self._model.directions(np.stack([row for (speaker, _), row in self._rows.items() if speaker == name]))
        centre = directions.mean(axis=0)
        return centre + self._model.background.mean if self._model.subtract_mean else centre

    def save(self, path: Path) -> None:
        """Write the gallery, whole or not at all."""
        keys = sorted(self._rows)
        size = self._model.dimensions
        flat = np.concatenate([self._rows[key] for key in keys]) if keys else np.empty(0, np.float32)
        columns = {
            "speaker": pa.array([speaker for speaker, _ in keys], pa.string()),
            "recording": pa.array([recording for _, recording in keys], pa.string()),
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(flat.astype(np.float32)), size),
        }
        write_table(path, pa.table(columns).replace_schema_metadata({FINGERPRINT: self._model.fingerprint.encode()}))
