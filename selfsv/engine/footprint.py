"""Describe what one training needs: GPU memory, messages between GPUs, and disk."""

from typing import NamedTuple

from selfsv.engine.sent import Sent

ACTIVATIONS = "activations"
PARTS = ("weights", "teacher", "prototypes, classifier", "optimiser", "gradients", "noise, rooms, labels", ACTIVATIONS)


class Machines(NamedTuple):
    """The processes of a training, and how they compute."""

    gpus: int  # of a node
    nodes: int = 1
    bfloat16: bool = True
    kernels: bool = True  # our own, for the encoder that has some

    @property
    def processes(self) -> int:
        """One for each GPU."""
        return self.gpus * self.nodes


class Footprint(NamedTuple):
    """The needs of one training."""

    training: str  # pretrain, round, audio_visual or large_margin
    title: str
    times: int  # how many trainings there are of this kind
    encoder: str
    key: str  # of the settings, that of the batch's size
    batch_size: int  # utterances, of all processes
    part: int  # of them that one process sees, at most
    epochs: int
    parts: dict[str, int]  # bytes of a GPU at the moment when most are taken, by `PARTS`
    sent: Sent
    state: int  # bytes of what is saved
    batch: int  # bytes of a process's part of a batch, as data workers hand it over

    @property
    def memory(self) -> int:
        """Bytes of a GPU at most, without what CUDA and its libraries take for themselves."""
        return sum(self.parts.values())

    def batch_within(self, memory: float, processes: int) -> int:
        """The largest batch that `memory`, in bytes of a GPU, holds, as activations grow with it and all else does not; 0: none."""
        fixed, each = self.memory - self.parts[ACTIVATIONS], self.parts[ACTIVATIONS] / self.part
        return processes * max(0, int((memory - fixed) / each))
