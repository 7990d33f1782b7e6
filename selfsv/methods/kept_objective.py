"""Stage I's objective beside the AAM loss of a round: what the crops of all utterances teach is not forgotten over the pseudo labels."""

from typing import Any

from torch import Tensor, nn
from torch.utils.data import Dataset

from selfsv.data.batches import BatchIndices, TrainBatch, TrainCrops
from selfsv.engine.runtime import Runtime
from selfsv.methods.inputs import Inputs
from selfsv.methods.objective import objective_of
from selfsv.settings.clustering import PreparationSettings
from selfsv.settings.jobs import PretrainJob, TrainJob


class KeptObjective:
    """Any `Objective` of stage I on a round's encoder. Its head is new: a model's file holds none.

    Args:
        job: with the settings of stage I.
        encoder: the round's; a teacher begins as its copy.
    """

    def __init__(self, job: TrainJob, encoder: nn.Module, inputs: Inputs, runtime: Runtime):
        assert job.pretrain is not None
        common = {name: getattr(job, name) for name in ("seed", "features", "encoder", "augmentation", "pretrain")}
        whole = PretrainJob(**common, preparation=PreparationSettings())
        self._objective = objective_of(job.pretrain.method)(whole, encoder, inputs, runtime)
        self._pace = job.pretrain.epochs / job.train.epochs
        own = {id(parameter) for parameter in encoder.parameters()}
        self.head = [parameter for parameter in self._objective.trained.parameters() if id(parameter) not in own]

    def crops(self, labelled: TrainCrops) -> Dataset:
        """The crops of a round with those of the objective."""
        return CropsOfBoth(labelled, self._objective.views(None))

    def train(self) -> None:
        """Put all networks into training mode."""
        self._objective.train()

    def loss(self, batch: Any, progress: float, share: float) -> Tensor:
        """This process's part of the loss, a scalar with gradient.

        Args:
            batch: of the objective.
            progress: of the round, in epochs; the objective's schedules run their whole course within the round.
            share: of the batch's utterances that this process sees.
        """
        return share * self._objective.loss(batch, progress * self._pace, share)[0]

    def after_step(self, progress: float) -> None:
        """Update moving averages and queues after an update."""
        self._objective.after_step(progress * self._pace)

    def is_finite(self) -> bool:
        """Whether all weights are finite."""
        return self._objective.is_finite()

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return self._objective.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`'s value."""
        self._objective.load_state_dict(state)


class CropsOfBoth(Dataset):
    """A round's batches, each with the objective's batch of the same utterances. Indexed by a `BatchIndices`."""

    def __init__(self, labelled: TrainCrops, views: Dataset):
        self._labelled, self._views = labelled, views

    def __getitem__(self, indices: BatchIndices) -> TrainBatch:
        return self._labelled[indices]._replace(views=self._views[indices])
