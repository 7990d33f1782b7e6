"""What of an experiment would be refused later, or is hardly meant: its sizes against the corpus and the processes."""

from collections.abc import Iterable
from typing import NamedTuple

from selfsv.engine.footprint import Footprint, Machines
from selfsv.prepare.corpus_size import doubts, too_few
from selfsv.settings.experiment import Experiment
from selfsv.settings.jobs import CorpusCheck

GB = 1e9
CUDA_GB, SPARE = 1.0, 0.05  # for CUDA and its libraries, and of a card's memory for what the allocator cannot use; assumed


class CorpusSize(NamedTuple):
    """The training corpus."""

    utterances: int
    hours: float | None  # of audio
    packed: bool = False  # whether it is on the disk already


class Findings(NamedTuple):
    """A sentence each."""

    problems: list[str]  # a run would fail, or do something else than its settings say
    notes: list[str]


def corpus_findings(experiment: Experiment, corpus: CorpusSize, processes: int) -> Findings:
    """What the stage `check_corpus` will say, and of prototypes."""
    check = CorpusCheck.of(experiment)
    notes = doubts(corpus.utterances, check)
    pretrain = experiment.pretrain
    if "pretrain.batch_size" in check.batch_sizes and pretrain.method == "dino" and pretrain.head.prototypes > corpus.utterances:
        notes.append(
            f"config key 'pretrain.head.prototypes' is {pretrain.head.prototypes:,}: more than there are utterances ({corpus.utterances:,})"
        )
    return Findings(too_few(corpus.utterances, check, processes), notes)


def batch_findings(footprints: Iterable[Footprint], processes: int) -> Findings:
    """Batches against the processes that share them."""
    found = Findings([], [])
    for one in footprints:
        if one.batch_size < processes:
            found.problems.append(f"config key '{one.key}' is {one.batch_size} for {processes} processes: raise it to {processes} at least")
        elif rest := one.batch_size % processes:
            least, below = one.batch_size // processes, one.batch_size - rest
            found.notes.append(
                f"config key '{one.key}': {one.batch_size} is no multiple of {processes} processes: of a batch {rest} of them see "
                f"{least + 1} utterances, and the others, which wait, {least}; {below} and {below + processes} are multiples"
            )
    return found


def memory_problems(footprints: Iterable[Footprint], extraction: int, machines: Machines, gigabytes: float) -> list[str]:
    """The trainings that GPUs of so much memory do not hold, and extraction.

    Args:
        extraction: bytes of a GPU.
    """
    usable = (1 - SPARE) * gigabytes - CUDA_GB
    have = f"of a GPU, of whose {gigabytes:g} GB {max(usable, 0.0):.1f} can be used"
    large = [one for one in footprints if one.memory > usable * GB]
    problems = [f"{one.title} takes {one.memory / GB:.1f} GB {have}: {_remedy(one, machines, usable)}" for one in large]
    if extraction > usable * GB:
        problems.append(f"extraction takes {extraction / GB:.1f} GB {have}: choose a smaller encoder, or GPUs with more memory")
    return problems


def _remedy(footprint: Footprint, machines: Machines, usable: float) -> str:
    batch = footprint.batch_within(usable * GB, machines.processes)
    if batch < machines.processes:
        return "no batch is small enough; choose a smaller encoder or fewer prototypes"
    parts = footprint.key.replace("batch_size", "encoder_parts")
    return f"raise {parts}, lower {footprint.key} from {footprint.batch_size} to {batch}, or take more GPUs"


def shared_memory_problems(needed: float, gigabytes: float, workers: int) -> list[str]:
    """Whether a node's /dev/shm holds what the data workers read ahead.

    Args:
        needed: bytes.
    """
    if needed <= gigabytes * GB:
        return []
    return [
        f"data workers need {needed / GB:.2f} GB of shared memory on each node, which has {gigabytes:g}: raise it (--shm-size), or lower "
        f"runtime.workers from {workers}"
    ]
