"""The artifacts of one iteration that the page shows: read, checked, and brought into one order. No speaker label is read."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from selfsv.artifacts import read_embeddings, read_labels, read_table
from selfsv.clustering.preparation import centred_unit
from selfsv.data.corpus import PackedCorpus
from selfsv.errors import InputError
from selfsv.settings.experiment import Experiment, recorded

SETTINGS = "settings.json"


@dataclass(frozen=True)
class Iteration:
    """The artifacts of iteration `number`. Arrays over utterances share one order, that of its embeddings."""

    number: int
    settings: Experiment
    corpus: PackedCorpus
    utterances: np.ndarray  # [N] names
    unit: np.ndarray  # [N, D] float32, the embeddings as they were clustered, of length 1
    labels: np.ndarray  # [N] int64 pseudo labels
    similarity: np.ndarray  # [N] float32, cosine with the centroid of the own cluster
    sessions: np.ndarray  # [N] names, "" where the manifest has none
    labels_before: np.ndarray | None  # [N] int64 of the iteration before, -1 where it has none; None: there is no iteration before
    losses: pd.DataFrame | None  # [N] rows: `loss_clean`, `decision`; None: trained without pseudo labels
    threshold: float | None  # tau_1 of the gate's last epoch; None: no gate was in force

    def __len__(self) -> int:
        return len(self.utterances)


def read_iteration(folder: Path, number: int | None = None) -> Iteration:
    """Iteration `number` of the experiment in `folder`; None: the last one that has pseudo labels.

    Raises:
        InputError: there is no such experiment or iteration, or an artifact is missing or damaged; the message names the file.
    """
    settings = read_settings(folder)
    number = last_iteration(folder, settings) if number is None else number
    if not 0 <= number <= settings.rounds:
        raise InputError(f"{folder} has no iteration {number}: its iterations are 0 (stage I) to {settings.rounds}")
    own, data = folder / f"iter_{number}", folder / "data" / settings.train_corpus
    embeddings, labelled, manifest = (
        own / "embeddings" / f"{settings.train_corpus}.parquet",
        labels_of(folder, number),
        data / "manifest.parquet",
    )
    shards = [data / f"audio-{shard}.pt" for shard in range(settings.pack.shards)]
    trained_on = [labels_of(folder, number - 1), own / "losses.parquet", own / "gate.parquet"] if number else []
    require(folder, [manifest, *shards, embeddings, labelled, *trained_on])
    utterances, vectors = read_embeddings(embeddings)
    if not len(utterances):
        raise InputError(f"{embeddings} has no utterance: check {manifest} for what was rejected, and why")
    labels = ordered(labelled, read_labels(labelled, ("utterance", "label", "similarity")), utterances, embeddings)
    sessions = ordered(manifest, read_table(manifest, ["utterance", "session"]), utterances, embeddings)["session"]
    return Iteration(
        number=number,
        settings=settings,
        corpus=PackedCorpus(manifest, shards),
        utterances=utterances,
        unit=centred_unit(vectors, settings.cluster.subtract_mean, settings.cluster.whitening),
        labels=labels["label"].to_numpy(np.int64),
        similarity=labels["similarity"].to_numpy(np.float32),
        sessions=sessions.fillna("").astype(str).to_numpy(),
        labels_before=labels_before(trained_on[0], utterances) if trained_on else None,
        losses=losses_of(trained_on[1], utterances, embeddings) if trained_on else None,
        threshold=threshold_of(trained_on[2]) if trained_on else None,
    )


def read_settings(folder: Path) -> Experiment:
    """The settings of the experiment in `folder`.

    Raises:
        InputError: it is no folder of an experiment.
    """
    if not (folder / SETTINGS).is_file():
        raise InputError(f"{folder / SETTINGS} does not exist: name the folder of an experiment, results/NAME, that the workflow has made")
    return recorded(folder / SETTINGS)


def last_iteration(folder: Path, settings: Experiment) -> int:
    """The last iteration that has pseudo labels; 0 where none has, so that the message names its file."""
    return max((number for number in range(settings.rounds + 1) if labels_of(folder, number).is_file()), default=0)


def labels_of(folder: Path, number: int) -> Path:
    """The file of an iteration's pseudo labels."""
    return folder / f"iter_{number}" / "pseudo_labels.parquet"


def require(folder: Path, files: list[Path]) -> None:
    """Refuse a run that is not finished.

    Raises:
        InputError: one of `files` does not exist; the message names the first and the command that makes it.
    """
    missing = next((file for file in files if not file.is_file()), None)
    if missing is not None:
        command = f"snakemake --configfile FILE --cores 1 --rerun-incomplete -- {missing}"
        raise InputError(
            f"{missing} does not exist: the run in {folder} is not finished. Give the command that started it again, or, "
            f"with that run's FILE, in the folder of the Snakefile: {command}"
        )


def ordered(file: Path, table: pd.DataFrame, utterances: np.ndarray, embeddings: Path) -> pd.DataFrame:
    """The rows of `table`, which was read from `file`, for `utterances` [N], in their order.

    Raises:
        InputError: an utterance has no row, or more than one.
    """
    rows = pd.Index(table["utterance"])
    places = rows.get_indexer(utterances) if rows.is_unique else np.array([-1])
    if (places < 0).any():
        raise InputError(f"{file} and {embeddings} are not about the same utterances: delete both, and run the workflow again")
    return table.iloc[places].reset_index(drop=True)


def labels_before(file: Path, utterances: np.ndarray) -> np.ndarray:
    """[N] int64 the pseudo labels in `file`, -1 for an utterance that has none there."""
    table = read_labels(file).drop_duplicates("utterance").set_index("utterance")["label"]
    return table.reindex(utterances, fill_value=-1).to_numpy(np.int64)


def losses_of(file: Path, utterances: np.ndarray, embeddings: Path) -> pd.DataFrame:
    """[N] rows `loss_clean`, `decision` of the last epoch, voices only."""
    return ordered(file, read_table(file, ["utterance", "loss_clean", "decision"]), utterances, embeddings)


def threshold_of(file: Path) -> float | None:
    """tau_1 of the last epoch of the voices' gate; None where it trusted every label."""
    table = read_table(file, ["modality", "epoch", "tau1"])
    values = table[table["modality"] == "audio"].sort_values("epoch")["tau1"]
    return None if values.empty or pd.isna(values.iloc[-1]) else float(values.iloc[-1])
