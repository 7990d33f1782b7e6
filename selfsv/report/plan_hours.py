"""How long an experiment would take, from measured rates of one GPU and the time that sending takes."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from selfsv.data.batches import steps_of
from selfsv.engine.footprint import Footprint, Machines
from selfsv.engine.sent import Links
from selfsv.errors import InputError
from selfsv.report.plan_checks import CorpusSize
from selfsv.settings.experiment import Experiment
from selfsv.settings.stage_one import is_cluster_aware

TRAININGS = ("pretrain", "round", "audio_visual", "large_margin")


class Rates(NamedTuple):
    """What one GPU was measured to do."""

    card: str
    encoder: str  # measured with
    batch_size: int  # likewise
    utterances_per_second: dict[str, float]  # by training; some may be missing
    times_real_time: float | None  # of extraction
    host_seconds: dict[str, float] | None = None  # that a CPU takes to start a step's kernels one by one, by training


# benchmarks/gpu/h200_ahead.json; the last training by its second step alone, with torch's layers.
H200 = Rates(
    "one NVIDIA H200",
    "ecapa_tdnn of 512 channels",
    256,
    {"pretrain": 4049.0, "round": 10186.3, "audio_visual": 3793.0, "large_margin": 3000.0},
    47532.0,
    # benchmarks/gpu/h200_fused.json: steps without CUDA graphs, which wait for the CPU.
    {"pretrain": 0.1007, "round": 0.0584},
)


class Hours(NamedTuple):
    """Of one kind of work."""

    title: str
    least: float  # where a step takes as much less time as a process sees fewer utterances
    most: float  # where it takes no less time than the batch that was measured: the CPU hands out the same work
    measured: bool  # whether with this encoder


def read_rates(path: Path) -> Rates:
    """The rates in a file that benchmarks/training_speed.py has written.

    Raises:
        InputError: the file is another one, or has no rates.
    """
    try:
        saved: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        stages, sizes = saved["stages"], saved["sizes"]
        rates = {name: float(stages[name]["utterances_per_second"]) for name in TRAININGS if name in stages and "error" not in stages[name]}
        extraction = stages.get("extract", {}).get("times_real_time")
        if rates:
            encoder = f"ecapa_tdnn of {sizes['channels']} channels"
            return Rates(f"one {saved['machine']['device']}", encoder, int(sizes["batch_size"]), rates, extraction)
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise InputError(f"{path} has no rates: name a file that benchmarks/training_speed.py has saved, with its stages pretrain and round")


def hours_of(
    experiment: Experiment, corpus: CorpusSize, footprints: Sequence[Footprint], machines: Machines, rates: Rates, links: Links
) -> list[Hours]:
    """Of every training whose rate is known, and of extraction."""
    known = [one for one in footprints if one.training in rates.utterances_per_second]
    return [*(_training(one, corpus, machines, rates, links) for one in known), *_extractions(experiment, corpus, machines, rates)]


def _training(footprint: Footprint, corpus: CorpusSize, machines: Machines, rates: Rates, links: Links) -> Hours:
    steps = footprint.times * footprint.epochs * steps_of(corpus.utterances, footprint.batch_size, machines.processes)
    rate = rates.utterances_per_second[footprint.training]
    # Several processes have no CUDA graphs: a small part of a batch has as many kernels as a large one.
    host = (rates.host_seconds or {}).get(footprint.training, 0.0) if machines.processes > 1 else 0.0
    least, most = (max(host, part / rate) for part in (footprint.part, max(footprint.part, rates.batch_size)))
    sending = footprint.sent.seconds(machines.gpus, machines.nodes, links)
    title = f"{footprint.times} x {footprint.title}" if footprint.times > 1 else footprint.title
    least, most = (steps * (seconds + sending) / 3600 for seconds in (least, most))
    return Hours(title, least, most, footprint.encoder == rates.encoder)


def _extractions(experiment: Experiment, corpus: CorpusSize, machines: Machines, rates: Rates) -> list[Hours]:
    """Of the training corpus: after each training on one GPU, and within stage I on all."""
    if not rates.times_real_time or corpus.hours is None:
        return []
    once, pretrain, aware = corpus.hours / rates.times_real_time, experiment.pretrain, experiment.pretrain.cluster_aware
    inside = 0
    if not (experiment.initial_model or experiment.starts_from_ivectors) and is_cluster_aware(pretrain):
        inside = len(range(aware.start_epoch, pretrain.epochs, aware.every_epochs))
    hours = (experiment.rounds + 1) * once + inside * once / machines.processes
    return [Hours(f"{experiment.rounds + 1 + inside} x extraction", hours, hours, experiment.encoder.architecture == "ecapa_tdnn")]
