"""The systems of an experiment, as the rules name them, and what wildcards may be."""

import re
from dataclasses import dataclass
from typing import Any

from selfsv.scoring import systems as names
from selfsv.settings.experiment import Experiment
from selfsv.settings.stage_one import stage_one_title


@dataclass(frozen=True)
class Systems:
    """Names of an experiment's systems, by what is made of them."""

    experiment: Experiment

    @property
    def rounds(self) -> list[str]:
        """Stage I, then the rounds."""
        return [f"iter_{i}" for i in range(self.experiment.rounds + 1)]

    @property
    def tuned(self) -> list[str]:
        """The large-margin model, where there is one."""
        return [names.LARGE_MARGIN] if self.experiment.large_margin.enabled else []

    @property
    def finetuned(self) -> list[str]:
        """Trained on speaker labels. They are scored beside the others, and nothing else is made of them."""
        return names.finetuned(self.experiment.finetune.starts, self.experiment.finetune.percent)

    @property
    def unlabelled(self) -> list[str]:
        """All that no label was used for, baselines included."""
        return names.systems(self.experiment.rounds, self.experiment.baselines) + self.tuned

    @property
    def described(self) -> list[str]:
        """The report describes the clusters of these. Baselines are there to be scored alone."""
        return self.unlabelled if self.experiment.trials else self.rounds + self.tuned

    @property
    def diagnosed(self) -> list[str]:
        """The report says how good these are without labels."""
        return self.rounds + self.tuned

    @property
    def models(self) -> list[str]:
        """All but the baselines."""
        return self.rounds + self.tuned + self.finetuned

    @property
    def titles(self) -> dict[str, str]:
        """What the models are called, by system."""
        return {system: names.title(system, stage_one_title(self.experiment)) for system in self.models}

    @property
    def trained(self) -> list[str]:
        """Those with a history: neither a model that was taken over nor an i-vector extractor has one."""
        without = self.experiment.initial_model or self.experiment.starts_from_ivectors
        return self.models[1:] if without else self.models

    @property
    def joint(self) -> list[str]:
        """Those whose clusters are of voices and faces. Stage I and the baselines know voices alone."""
        return self.rounds[1:] if self.experiment.modality == "audio_visual" else []

    def clustered_modality(self, wildcards: Any) -> str:
        """Which embeddings a system's clusters are made of."""
        return "joint" if wildcards.system in self.joint else "audio"

    @property
    def compared(self) -> list[str]:
        """Those whose voices and faces are also clustered alone."""
        return self.joint if self.experiment.faces.compare_modalities else []

    @property
    def wildcards(self) -> dict[str, str]:
        """A regular expression for each wildcard of the rules."""
        number, kinds = r"[1-9]\d*", "fbank|untrained|whitened"
        start = rf"iter_(?:0|{number})"
        return {
            "system": rf"baseline_(?:{kinds})|{start}|large_margin|finetuned_(?:random|{start})_{number}",
            "kind": kinds,
            "corpus": "|".join(map(re.escape, self.experiment.corpora)),
            "trials": "|".join(map(re.escape, self.experiment.trials)) or "none",
            "shard": rf"0|{number}",
            "i": number,
            "start": f"random|{start}",
            "percent": number,
        }
