"""The classes that a network predicted for every utterance in the last epochs: what it keeps to is likelier right than its label."""

from typing import Any

import torch
from torch import Tensor

from selfsv.engine.processes import Group


class PredictionHistory:
    """A ring of the last K epochs' predictions (SSRL: Cai et al., 2024).

    Args:
        utterances: N, of the corpus.
        epochs: K.
    """

    def __init__(self, utterances: int, epochs: int, group: Group, device: torch.device):
        self._group = group
        self._predicted = torch.full((utterances, epochs), -1, dtype=torch.int32, device=device)

    def record(self, epoch: int, utterances: Tensor, predicted: Tensor) -> None:
        """Take down a batch, in whichever process.

        Args:
            utterances: [M] int64.
            predicted: [M] int64, the class of greatest cosine.
        """
        slot = epoch % self._predicted.shape[1]
        self._predicted[self._group.gathered(utterances), slot] = self._group.gathered(predicted.to(torch.int32))

    def commonest(self, epoch: int, utterances: Tensor | slice = slice(None)) -> tuple[Tensor, Tensor]:
        """The commonest prediction [M] int64, the newest of equally common ones, and the fraction of epochs [M] in which it was made.

        Args:
            epoch: the last one that was recorded.
            utterances: [M] int64; all where there are none.
        """
        epochs = self._predicted.shape[1]
        newest_first = self._predicted[utterances][:, [(epoch - age) % epochs for age in range(epochs)]]
        counts = (newest_first.unsqueeze(2) == newest_first.unsqueeze(1)).sum(dim=2)
        ranks = counts * epochs - torch.arange(epochs, device=counts.device)
        place = ranks.argmax(dim=1, keepdim=True)
        return newest_first.gather(1, place).squeeze(1).long(), counts.gather(1, place).squeeze(1) / epochs

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next epoch depends on."""
        return {"predicted": self._predicted}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`'s value."""
        self._predicted.copy_(state["predicted"])
