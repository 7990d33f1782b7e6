"""The loss of every step of a training on the cut of the demo corpus, and how to write it down anew.

WRITE_COURSES=1 python -m pytest tests/training/test_loss_course.py    # after a deliberate change of numerics
"""

import hashlib
import json
import platform
import re
from itertools import islice
from pathlib import Path

import torch

from benchmarks.numerics import loss_of_step
from selfsv.data.batches import BatchIndices, epoch_batches
from selfsv.methods.dlg_lc import DlgLc
from selfsv.methods.pretraining import Pretraining

COURSES = Path(__file__).with_name("loss_courses.json")
STEPS = 200
EPOCHS = 67  # of 3 steps
TRAININGS = {
    "ca_dino": lambda workshop: workshop.pretraining(
        epochs=EPOCHS,
        optimiser={"learning_rate": 0.02, "final_learning_rate": 0.001, "warmup_epochs": 5},
        cluster_aware={"start_epoch": 30, "every_epochs": 10, "clusters": 6, "iterations": 5},
    ),
    "dlg_lc": lambda workshop: workshop.gated(
        epochs=STEPS,
        batch_size=24,  # all utterances: smaller batches tell BatchNorm so little that a round is chaotic
        aam={"margin_start_epoch": 30, "margin_full_epoch": 60},
        gate={"mode": "dlg_lc", "gate_start_epoch": 100},
        optimiser={"learning_rate": 0.02, "final_learning_rate": 0.001, "warmup_epochs": 20},
    ),
}


def course(method: Pretraining | DlgLc, utterances: int) -> list[float]:
    """The losses of `STEPS` steps."""
    losses: list[float] = []
    for epoch in range(method.epochs):
        dataset = method.begin_epoch(epoch)
        planned: list[BatchIndices] = epoch_batches(method.seed, method.stage, epoch, utterances, method.batch_size)
        for step, indices in enumerate(islice(planned, STEPS - len(losses))):
            losses.append(loss_of_step(method, dataset[indices], epoch + step / len(planned)))
        method.end_epoch(epoch)
    return losses


def machine() -> dict[str, str]:
    """What must be the same for losses to be the same bit for bit."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0] if Path("/proc/cpuinfo").exists() else platform.processor()
    kept = sorted(line for line in lines.splitlines() if re.match(r"(vendor_id|cpu family|model|stepping|flags)\s", line))
    return {
        "processor": hashlib.sha256("\n".join(kept).encode()).hexdigest()[:16],
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
    }


def read() -> dict:
    """What was written down."""
    return json.loads(COURSES.read_text(encoding="utf-8"))
