"""A gallery: the known speakers, a row of a Parquet file for each of their recordings."""

from collections import Counter
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa

from selfsv.artifacts import read_arrow, write_table
from selfsv.errors import InputError
from selfsv.inference.speaker_model import Norm, SpeakerModel

FINGERPRINT = b"selfsv.model"  # key of the file's metadata: embeddings of other models mean nothing here
SAME = 1e-3  # relative distance of two embeddings of one recording, which may have been batched with others: 1e-5 at most

Change = Literal["added", "unchanged", "replaced"]
References = Literal["mean", "best"]  # what a speaker of several recordings is compared by


class Row(NamedTuple):
    """A recording of a speaker."""

    speaker: str
    recording: str  # its name, for people
    content: str | None  # SHA-256 of the file, which tells recordings apart; None in files of earlier versions
    embedding: np.ndarray  # [D] float32
    seconds: float = float("nan")  # of the recording; NaN in files of earlier versions


class Gallery:
    """Speakers and the embeddings of their recordings.

    Args:
        model: whose embeddings these are.
    """

    def __init__(self, model: SpeakerModel, rows: list[Row] | None = None):
        self._model = model
        self._rows = rows or []
        self._read: tuple[Path, object] | None = None  # the file that it was read from, and its state then

    @classmethod
    def open(cls, path: Path, model: SpeakerModel) -> "Gallery":
        """The gallery in the file at `path`.

        Raises:
            InputError: it is missing, is no gallery, or belongs to another model.
        """
        if not path.exists():
            raise InputError(f"the gallery {path} does not exist: enroll somebody first")
        state = _state(path)
        table = read_arrow(path)
        if missing := [name for name in ("speaker", "recording", "embedding") if name not in table.column_names]:
            raise InputError(f"{path} is no gallery: it has no column '{missing[0]}'; name a file that `selfsv enroll` made")
        owner = (table.schema.metadata or {}).get(FINGERPRINT, b"").decode()
        if owner != model.fingerprint:
            raise InputError(f"the gallery {path} belongs to another model ({owner or 'unknown'}, not {model.fingerprint}): use that one")
        size = model.dimensions
        speakers, recordings = table["speaker"].to_pylist(), table["recording"].to_pylist()
        contents = table["content"].to_pylist() if "content" in table.column_names else [None] * len(table)
        embeddings = [np.asarray(row, np.float32) for row in table["embedding"].to_pylist()]
        if any(row.shape != (size,) or not np.isfinite(row).all() for row in embeddings):
            raise InputError(f"the gallery {path} is damaged: its embeddings are not {size} finite values each")
        known = table["seconds"].to_pylist() if "seconds" in table.column_names else [None] * len(table)
        seconds = [float("nan") if value is None else float(value) for value in known]
        gallery = cls(model, list(map(Row, speakers, recordings, contents, embeddings, seconds)))
        gallery._read = path.resolve(), state
        return gallery

    def add(self, speaker: str, recording: str, content: str, embedding: np.ndarray, seconds: float = float("nan")) -> Change:
        """A recording of a speaker. What tells recordings apart is their content: one of the same name in another folder is another.

        Args:
            recording: its name; a number is added where the speaker has another recording of that name.
            content: of the file, as `selfsv.inference.recordings.content_of` gives it.

        Returns:
            Whether it is new, was known, or was known with another embedding, which it replaces.
        """
        mine = [index for index, row in enumerate(self._rows) if row.speaker == speaker]
        for index in mine:
            row = self._rows[index]
            alike = bool(np.linalg.norm(row.embedding - embedding) <= SAME * np.linalg.norm(embedding))
            if row.content == content or (row.content is None and row.recording == recording and alike):
                kept = row.embedding if alike else embedding
                self._rows[index] = Row(speaker, row.recording, content, kept, seconds if np.isnan(row.seconds) else row.seconds)
                return "unchanged" if alike else "replaced"
        taken = {self._rows[index].recording for index in mine}
        self._rows.append(Row(speaker, _free_name(recording, taken), content, embedding, seconds))
        return "added"

    def remove(self, speaker: str, recording: str | None = None) -> int:
        """Forget a speaker, or one recording of the speaker's; how many recordings that were.

        Raises:
            InputError: the gallery does not know the speaker, or no such recording of the speaker's.
        """
        mine = self.recordings(speaker)
        if not mine:
            raise InputError(f"nobody in the gallery is called '{speaker}': it knows {', '.join(self.speakers) or 'nobody'}")
        if recording is not None and recording not in mine:
            raise InputError(f"'{speaker}' has no recording called '{recording}' in the gallery, but {', '.join(mine)}")
        gone = mine if recording is None else [recording]
        self._rows = [row for row in self._rows if row.speaker != speaker or row.recording not in gone]
        return len(gone)

    def recordings(self, speaker: str) -> list[str]:
        """The names of a speaker's recordings, sorted; empty for nobody whom the gallery knows."""
        return sorted(row.recording for row in self._rows if row.speaker == speaker)

    @property
    def speakers(self) -> list[str]:
        """Their names, sorted."""
        return sorted({row.speaker for row in self._rows})

    def counts(self) -> dict[str, int]:
        """The number of recordings of each speaker."""
        return dict(sorted(Counter(row.speaker for row in self._rows).items()))

    def scores(self, embeddings: np.ndarray, norm: Norm = "cosine", references: References = "mean") -> np.ndarray:
        """[N, S] scores of embeddings [N, D] with each speaker, in the order of `speakers`.

        Args:
            references: a speaker stands for the `mean` direction of the recordings, or for the `best`, the one with the highest score.

        Raises:
            InputError: nobody is enrolled.
        """
        given, _, owners = self._references(references)
        return _best(self._model.compare_all(embeddings, given, norm), owners)

    def llrs(self, embeddings: np.ndarray, seconds: np.ndarray, references: References = "mean") -> np.ndarray:
        """[N, S] log-likelihood ratios of embeddings [N, D] of recordings that are `seconds` [N] long; else as `scores`.

        Of a mean the ratios are those of a recording as long as all of the speaker's together: the calibration knows none of means.
        """
        given, lengths, owners = self._references(references)
        return _best(self._model.llr_all(embeddings, given, seconds, lengths), owners)

    def _references(self, kind: References) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What recordings are compared with: embeddings [R, D], their seconds [R], and whose they are, [R] positions in `speakers`."""
        if not self._rows:
            raise InputError("the gallery is empty: enroll somebody first")
        if kind == "best":
            owners = np.array([self.speakers.index(row.speaker) for row in self._rows])
            return np.stack([row.embedding for row in self._rows]), np.array([row.seconds for row in self._rows]), owners
        lengths = [sum(row.seconds for row in self._rows if row.speaker == name) for name in self.speakers]
        return np.stack([self._centre(name) for name in self.speakers]), np.array(lengths), np.arange(len(self.speakers))

    def _centre(self, name: str) -> np.ndarray:
        """[D], such that comparing with it compares with the mean of the speaker's directions."""
        directions = self._model.directions(np.stack([row.embedding for row in self._rows if row.speaker == name]))
        centre = directions.mean(axis=0)
        return centre + self._model.background.mean if self._model.subtract_mean else centre

    def save(self, path: Path) -> None:
        """Write the gallery, whole or not at all.

        Raises:
            InputError: since it was read, another program has changed the file, whose recordings would be lost.
        """
        before = self._read[1] if self._read is not None and self._read[0] == path.resolve() else None
        if _state(path) != before:
            raise InputError(f"the gallery {path} was changed by another program at the same time: nothing is written, run this again")
        rows = sorted(self._rows, key=lambda row: (row.speaker, row.recording))
        size = self._model.dimensions
        flat = np.concatenate([row.embedding for row in rows]) if rows else np.empty(0, np.float32)
        columns = {
            "speaker": pa.array([row.speaker for row in rows], pa.string()),
            "recording": pa.array([row.recording for row in rows], pa.string()),
            "content": pa.array([row.content for row in rows], pa.string()),
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(flat.astype(np.float32)), size),
            "seconds": pa.array([row.seconds for row in rows], pa.float64()),
        }
        write_table(path, pa.table(columns).replace_schema_metadata({FINGERPRINT: self._model.fingerprint.encode()}))
        self._read = path.resolve(), _state(path)


def _state(path: Path) -> object:
    """Changes with the file at `path`; None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _best(scores: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """[N, S], the highest of the scores [N, R] with references that each speaker owns."""
    return np.stack([scores[:, owners == speaker].max(axis=1) for speaker in range(owners.max() + 1)], axis=1)


def _free_name(name: str, taken: set[str]) -> str:
    number = 2
    free = name
    while free in taken:
        free, number = f"{name} ({number})", number + 1
    return free
