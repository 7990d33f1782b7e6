"""What bfloat16 and compiled kernels change: losses of the same training side by side, and gradients of the same step.

    python benchmarks/numerics.py --into FOLDER             # a GPU: the paper's sizes
    python benchmarks/numerics.py --into FOLDER --small     # a CPU: a small encoder, compiled there, too

Every way of computing starts from the same weights and sees the same batches of a made-up corpus, in CA-DINO and in a round. The
reference is float32, not compiled. Beside it stands the reference from weights that differ by a millionth: what two trainings
differ by after some steps if nothing but rounding tells them apart. Prints JSON and saves it after each training.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also where the project is not installed

from benchmarks.speed_trainings import Bench, Figures, gated, machine, opened, parser, planned, pretraining, sizes, with_sizes
from selfsv.engine.method import Method
from selfsv.methods.ca_dino import Objective
from selfsv.methods.dlg_lc import DlgLc
from selfsv.methods.pretraining import Pretraining
from selfsv.settings.experiment import Experiment
from selfsv.settings.pretrain import PretrainSettings
from selfsv.settings.train import TrainSettings

WAYS = {  # bfloat16, compiled
    "float32": (False, False),
    "float32 compiled": (False, True),
    "bfloat16": (True, False),
    "bfloat16 compiled": (True, True),
}
REFERENCE, REFERENCE_ELSEWHERE = "float32", "float32 from weights a millionth off"
EPOCHS = (1.0, 5.0)  # of the schedules, passed within the steps: the head's last layer learns, the learning rate is not yet high
UNCLIPPED = 1e9


def main() -> None:
    """Train in all ways, print and save the comparison."""
    args = arguments()
    bench = opened(args)
    trainings = {"pretraining": Training(bench, pretraining), "round": Training(bench, gated)}
    outcome: Figures = {"machine": machine(bench), "sizes": sizes(args)}
    for name in args.trainings:
        outcome[name] = {part: PARTS[part](trainings[name], args) for part in args.parts}
        args.save.write_text(json.dumps(outcome, indent=2) + "\n")
    print(args.save.read_text(), end="")


def arguments() -> argparse.Namespace:
    """The command line."""
    made = parser(__doc__, "numerics.json")
    made.add_argument("--steps", type=int, help="of each training")
    made.add_argument("--fast", choices=list(WAYS)[1:], default="bfloat16 compiled", help="whose losses stand beside the reference's")
    made.add_argument("--trainings", nargs="+", choices=["pretraining", "round"], default=["pretraining", "round"])
    made.add_argument(
        "--parts", nargs="+", choices=PARTS, default=list(PARTS), help="gradients has all ways compiled, not the fast one alone"
    )
    return with_sizes(made, {"steps": 200}, {"steps": 20})


class Training:
    """One kind of training, to be begun any number of times in the same place."""

    def __init__(self, bench: Bench, make: Callable[[Bench], Pretraining | DlgLc]):
        self._bench, self._make = bench, make

    def begun(self, way: str, *, clip: bool = True) -> Pretraining | DlgLc:
        """From the same weights, computed in the given way."""
        bfloat16, compiled = WAYS[way]
        runtime = replace(self._bench.runtime, bfloat16=bfloat16, compile=compiled)
        experiment = self._bench.experiment if clip else unclipped(self._bench.experiment)
        made = self._make(self._bench._replace(runtime=runtime, experiment=experiment))
        made.begin_epoch(0)
        return made

    def batches(self, count: int) -> Iterator[Any]:
        """The same each time."""
        dataset = self.begun(REFERENCE).begin_epoch(0)
        return (dataset[indices] for indices in islice(planned(self._bench, 0), count))


def unclipped(experiment: Experiment) -> Experiment:
    """The same trainings, whose gradients stay as they are."""
    return experiment.model_copy(update={"pretrain": _unclipped(experiment.pretrain), "train": _unclipped(experiment.train)})


def _unclipped(section: PretrainSettings | TrainSettings) -> PretrainSettings | TrainSettings:
    return section.model_copy(update={"optimiser": section.optimiser.model_copy(update={"clip_gradient": UNCLIPPED})})


# Losses ---------------------------------------------------------------------------------------------------------------


def curves(training: Training, args: argparse.Namespace) -> Figures:
    """The loss at each step, and how far it lies from the reference's: greatest and mean difference, relative."""
    begun: dict[str, Pretraining | DlgLc] = {way: training.begun(way) for way in (REFERENCE, args.fast)}
    begun[REFERENCE_ELSEWHERE] = training.begun(REFERENCE)
    disturb(networks(begun[REFERENCE_ELSEWHERE]))
    losses: dict[str, list[float]] = {way: [] for way in begun}
    for step, batch in enumerate(training.batches(args.steps)):
        progress = EPOCHS[0] + (EPOCHS[1] - EPOCHS[0]) * step / args.steps
        for way, method in begun.items():
            losses[way].append(loss_of_step(method, batch, progress))
    differences = {way: relative(losses[way], losses[REFERENCE]) for way in losses if way != REFERENCE}
    return {"from_the_reference": differences, "course": {way: [round(loss, 4) for loss in course] for way, course in losses.items()}}


def loss_of_step(method: Pretraining | DlgLc, batch: Any, progress: float) -> float:
    """Take a step; what it adds to the epoch's sum of losses."""
    means = method._means if isinstance(method, Pretraining) else method.modalities[0].means
    before = float(means._sums[0])
    method.step(batch, progress)
    return float(means._sums[0]) - before


@torch.no_grad()
def disturb(modules: dict[str, nn.Module]) -> None:
    """Change every weight by about a millionth of itself."""
    generator = torch.Generator().manual_seed(1)
    for module in modules.values():
        for parameter in module.parameters():
            parameter.mul_(1 + 1e-6 * torch.randn(parameter.shape, generator=generator).to(parameter.device))


def relative(course: list[float], reference: list[float]) -> Figures:
    """Differences of two courses as shares of the reference."""
    differences = np.abs(np.array(course) / np.array(reference) - 1)
    found = {"greatest": differences.max(), "mean": differences.mean(), "last": differences[-1]}
    return {name: float(f"{value:.2g}") for name, value in found.items()}


# Gradients ------------------------------------------------------------------------------------------------------------


def gradients(training: Training) -> Figures:
    """Gradients of the first step in each way beside the reference's, by group of parameters."""
    [batch] = training.batches(1)
    found = {way: gradients_of_step(training.begun(way, clip=False), batch) for way in WAYS}
    return {
        way: {group: compared(gradient, found[REFERENCE][group]) for group, gradient in found[way].items()}
        for way in WAYS
        if way != REFERENCE
    }


def networks(method: Method) -> dict[str, nn.Module]:
    """What learns, by name."""
    if isinstance(method, Pretraining):
        student = cast(Objective, method.objective).student
        return {"encoder": student.encoder, "head": student.head}
    assert isinstance(method, DlgLc)
    network = method.modalities[0].network
    return {"encoder": network.encoder, "classifier": network.classifier}


def gradients_of_step(method: Pretraining | DlgLc, batch: Any) -> dict[str, Tensor]:
    """Of each network as a whole, and of each part of the encoder."""
    method.step(batch, EPOCHS[0])
    whole = networks(method)
    parts = {f"encoder.{name}": part for name, part in whole["encoder"].named_children()}
    modules = {name: list(module.parameters()) for name, module in {**whole, **parts}.items()}
    return {name: flat(parameters) for name, parameters in modules.items() if parameters}


def flat(parameters: list[nn.Parameter]) -> Tensor:
    """All gradients as one vector, float64 on the CPU."""
    return torch.cat([parameter.grad.double().flatten().cpu() for parameter in parameters if parameter.grad is not None])


def compared(gradient: Tensor, reference: Tensor) -> Figures:
    """Cosine, and the norm of the difference as a share of the reference's."""
    cosine = float(nn.functional.cosine_similarity(gradient, reference, dim=0))
    return {"cosine": round(cosine, 6), "relative_difference": float(f"{float((gradient - reference).norm() / reference.norm()):.2g}")}


PARTS: dict[str, Callable[[Training, argparse.Namespace], Figures]] = {
    "losses": curves,
    "gradients": lambda training, _: gradients(training),
}


if __name__ == "__main__":
    main()
