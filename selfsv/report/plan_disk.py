"""The disk and the memory of nodes that an experiment takes."""

from collections.abc import Sequence
from typing import NamedTuple

from selfsv.engine.checkpoints import KEPT
from selfsv.engine.footprint import Footprint
from selfsv.engine.shared_memory import batches_ahead
from selfsv.prepare.decoding import PACKED_BYTES_PER_SECOND
from selfsv.report.plan_checks import CorpusSize
from selfsv.settings.experiment import Experiment

FLOAT = 4  # bytes of one dimension of an embedding


class Disk(NamedTuple):
    """Bytes."""

    audio: float | None  # of the training corpus, packed; None: its length is not known
    embeddings: float  # of the training corpus, of all iterations
    states: float  # of all trainings
    shared_memory: float  # of one node, while a training's data workers read ahead

    def missing(self, *, packed: bool) -> float:
        """What is still to be written.

        Args:
            packed: whether the audio is there already.
        """
        return (0.0 if packed else self.audio or 0.0) + self.embeddings + self.states


def disk_of(experiment: Experiment, corpus: CorpusSize | None, footprints: Sequence[Footprint], gpus: int) -> Disk:
    """What the training corpus and the trainings take; test corpora come on top.

    Args:
        gpus: of a node.
    """
    ahead = batches_ahead(experiment.runtime.workers) if experiment.runtime.workers else 0
    return Disk(
        audio=None if corpus is None or corpus.hours is None else 3600 * corpus.hours * PACKED_BYTES_PER_SECOND,
        embeddings=float(corpus.utterances * _dimensions(experiment) * FLOAT) if corpus else 0.0,
        states=float(sum(KEPT * one.times * one.state for one in footprints)),
        shared_memory=float(max((ahead * gpus * one.batch for one in footprints), default=0)),
    )


def _dimensions(experiment: Experiment) -> int:
    """Of the embeddings of one utterance, all iterations together."""
    voices = sum(experiment.encoder_of(iteration).embedding for iteration in range(experiment.rounds + 1))
    faces = experiment.rounds * experiment.faces.encoder.embedding if experiment.modality == "audio_visual" else 0
    return voices + faces
