"""Banks: many short pieces of noise, or many impulse responses, in one flat tensor that lives on the training device."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from selfsv.artifacts import load_torch, save_torch
from selfsv.errors import InputError

NOISE_KINDS = ("noise", "music", "babble", "television")
RIR_KINDS = ("room",)


@dataclass(frozen=True)
class Bank:
    """Segment i is `samples[start[i] : start[i] + length[i]]`, of the kind `kinds[kind[i]]`.

    Attributes:
        samples: [S] int16.
        start, length, kind: [n] int64.
        kinds: names of the kinds; some may have no segment.
    """

    samples: Tensor
    start: Tensor
    length: Tensor
    kind: Tensor
    kinds: tuple[str, ...]

    def __len__(self) -> int:
        """The number of segments."""
        return len(self.start)

    def segment(self, index: int) -> Tensor:
        """[length[index]] int16."""
        first = int(self.start[index])
        return self.samples[first : first + int(self.length[index])]

    def to(self, device: torch.device | str) -> Self:
        """The same bank on `device`."""
        return type(self)(self.samples.to(device), self.start.to(device), self.length.to(device), self.kind.to(device), self.kinds)

    def counts(self) -> str:
        """The amount of each kind, for a log."""
        minutes = torch.zeros(len(self.kinds)).index_add(0, self.kind.cpu(), self.length.cpu() / 16000 / 60)
        numbers = torch.bincount(self.kind.cpu(), minlength=len(self.kinds))
        return ", ".join(f"{n} {kind} ({m:.1f} min)" for kind, n, m in zip(self.kinds, numbers.tolist(), minutes.tolist(), strict=True))


def bank_of(segments: Iterable[tuple[str, np.ndarray]], kinds: tuple[str, ...]) -> Bank:
    """A bank of (kind, [length] int16) pairs, in their order."""
    pairs = [(kinds.index(kind), samples) for kind, samples in segments]
    length = np.array([len(samples) for _, samples in pairs], dtype=np.int64)
    samples = np.concatenate([samples for _, samples in pairs]) if pairs else np.empty(0, np.int16)
    return Bank(
        samples=torch.from_numpy(samples),
        start=torch.from_numpy(np.cumsum(length) - length),
        length=torch.from_numpy(length),
        kind=torch.tensor([kind for kind, _ in pairs], dtype=torch.int64),
        kinds=kinds,
    )


def save_bank(path: Path, bank: Bank) -> None:
    """`bank` as a Torch file at `path`, atomically."""
    save_torch(path, {"samples": bank.samples, "start": bank.start, "length": bank.length, "kind": bank.kind, "kinds": list(bank.kinds)})


def load_bank(path: Path) -> Bank:
    """The bank at `path`, on the CPU.

    Raises:
        InputError: it is missing, damaged, no bank, or empty.
    """
    fields = load_torch(path)
    problem = _problem(fields)
    if problem:
        raise InputError(f"{path} is no bank of noise or impulse responses ({problem}): delete it and run the stage that makes it again")
    return Bank(fields["samples"], fields["start"], fields["length"], fields["kind"], tuple(fields["kinds"]))


def _problem(fields: object) -> str:
    expected = {"samples": torch.int16, "start": torch.int64, "length": torch.int64, "kind": torch.int64}
    if not isinstance(fields, dict) or set(fields) != {*expected, "kinds"}:
        return f"it should hold {', '.join(expected)} and kinds"
    for name, dtype in expected.items():
        if not isinstance(fields[name], Tensor) or fields[name].dtype != dtype or fields[name].ndim != 1:
            return f"{name} should be 1-D {dtype}"
    if not isinstance(fields["kinds"], list) or not all(isinstance(name, str) for name in fields["kinds"]):
        return "kinds should be a list of names"
    start, length, kind = fields["start"], fields["length"], fields["kind"]
    if not len(start) == len(length) == len(kind):
        return "start, length and kind differ in length"
    if not len(start):
        return "it is empty"
    if start.min() < 0 or length.min() < 1 or (length > len(fields["samples"]) - start).any():  # no sum: it could overflow
        return "a segment lies outside the samples"
    if kind.min() < 0 or kind.max() >= len(fields["kinds"]):
        return "a segment is of an unknown kind"
    return ""
