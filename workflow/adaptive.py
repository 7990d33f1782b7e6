"""The settings of jobs that may follow the packed corpus: with `recipe: adaptive`, a checkpoint derives them in the middle of a run."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from snakemake.exceptions import IncompleteCheckpointException, WorkflowError
from snakemake.io import ancient

from selfsv.errors import SettingsError
from selfsv.prepare.adaptive import derivation, experiment_with
from selfsv.settings.experiment import Experiment
from selfsv.settings.jobs import DeriveJob
from selfsv.settings.reading import read_file


class Derived:
    """Settings of jobs, as functions of wildcards: they are asked for when a job is planned, and wait for the checkpoint.

    Args:
        experiment: by the usual values of what will be derived, where anything is.
        checkpoints: Snakemake's.
    """

    def __init__(self, defaults: Mapping[str, Any], overlay: Mapping[str, Any], experiment: Experiment, checkpoints: Any):
        self._defaults, self._overlay, self._usual, self._checkpoints = defaults, overlay, experiment, checkpoints

    @property
    def adaptive(self) -> bool:
        """Whether anything is derived."""
        return self._usual.recipe == "adaptive"

    @property
    def job(self) -> DeriveJob:
        """The settings of the checkpoint itself."""
        return derivation(self._usual, self._overlay)

    def __call__(self, section: Callable[..., Any], *numbers: str) -> Callable[[Any], Any]:
        """A function for a rule's params, which gives `section` of the experiment.

        Args:
            section: of an experiment, and of the wildcards named by `numbers`, as integers.
        """
        return lambda wildcards: section(self._experiment(), *(int(wildcards[name]) for name in numbers))

    @property
    def known(self) -> Experiment:
        """The experiment for what a person reads: by the usual values while nothing is derived yet."""
        path = Path("results", self._usual.experiment, "data", self._usual.train_corpus, "derived.yaml")
        return self._with(path) if self.adaptive and path.exists() else self._usual

    def file(self, wildcards: Any) -> Any:
        """What was derived, as an input: when it was written reruns nothing, another value shows in the params of its jobs."""
        return ancient(self._path()) if self.adaptive else []

    def _path(self) -> str:
        """Where it is, once it has been derived.

        A file that is to be made anew is taken as it is meanwhile: Snakemake keeps for the rest of a run what it has once planned after
        a job that waits for a checkpoint, also where that job then has nothing to do. The checkpoint's end has all of them planned again.
        """
        try:
            return str(self._checkpoints.derive.get().output[0])
        except IncompleteCheckpointException as missing:
            if not Path(missing.targetfile).exists():
                raise
            return str(missing.targetfile)

    def _experiment(self) -> Experiment:
        if not self.adaptive:
            return self._usual
        return self._with(Path(self._path()))

    def _with(self, path: Path) -> Experiment:
        try:
            return experiment_with(self._defaults, self._overlay, read_file(path))
        except SettingsError as error:
            raise WorkflowError(f"with what {path} has: {error}. Set both keys yourself, or neither") from None
