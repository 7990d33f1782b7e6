"""`recipe: adaptive`: settings that follow a corpus as it was packed, by the rules of `sizes`. What the user sets himself wins."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from selfsv.errors import InputError
from selfsv.prepare.choices import Choice, nested, with_reasons
from selfsv.prepare.sizes import (
    ALWAYS,
    MANY_UTTERANCES,
    PAPER_EPOCHS,
    PAPER_ROUND_EPOCHS,
    batch_size,
    round_of,
    size_choices,
    speaker_choices,
    stage_one,
)
from selfsv.settings.experiment import Experiment, overlaid, resolve
from selfsv.settings.jobs import DeriveJob
from selfsv.settings.section import merged

# Not derived: the shards are needed before anything is packed, and epochs are a matter of the time that there is.
NAMED = frozenset({"pack.shards", "pretrain.epochs", "train.epochs"})
USUAL_UTTERANCES, USUAL_SECONDS = 10_000, 8.0  # stand in until the corpus is packed, so that a configuration can be checked


def choices(utterances: int, seconds: np.ndarray, job: DeriveJob) -> list[Choice]:
    """All settings that the recipe derives, with those among them that the user sets.

    Args:
        utterances: N, those that were accepted.
        seconds: [N] their lengths, or those of a sample.

    Raises:
        InputError: there are none.
    """
    if not utterances:
        raise InputError("no utterance of the training corpus was accepted, so there is nothing to derive settings from")
    steps, round_steps = (
        max(1, utterances // (given or batch_size(utterances))) for given in (job.batch_size, job.round_batch_size)
    )  # of an epoch
    found = [
        *ALWAYS,
        *size_choices(utterances, seconds),
        *speaker_choices(utterances, max(2, round(utterances / job.utterances_per_speaker))),
        *stage_one(utterances, job.epochs, job.epochs * steps),
        *round_of(job.round_epochs, job.round_epochs * round_steps),
    ]
    return [choice for choice in found if choice.key not in NAMED]


def derived_file(utterances: int, seconds: np.ndarray, job: DeriveJob) -> str:
    """The overlay that the later stages read: each setting with its reason, and those that the user sets in a comment.

    Args:
        utterances: N, those that were accepted.
        seconds: [N] their lengths.

    Raises:
        InputError: there are none.
    """
    found = choices(utterances, seconds, job)
    kept = [choice for choice in found if choice.key not in job.own]
    epochs = f"{job.epochs} epochs of stage I and {job.round_epochs} of a round"
    head = [
        f"Derived by `recipe: adaptive` from {utterances:,} utterances of {np.median(seconds):.1f} s (median),",
        f"{epochs}, and {job.utterances_per_speaker:g} utterances of a speaker. What you set yourself wins.",
        *([f"Set by you, so not derived: {', '.join(job.own)}"] if job.own else []),
    ]
    return with_reasons({}, kept, head) if kept else "\n".join([*(f"# {line}" for line in head), "{}"]) + "\n"


def keys_of(overlay: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """The keys of nested settings, with dots."""
    for key, value in overlay.items():
        if isinstance(value, Mapping):
            yield from keys_of(value, f"{path}{key}.")
        else:
            yield f"{path}{key}"


def as_recipe(found: Sequence[Choice], utterances: int, speakers: int) -> list[Choice]:
    """`found` with the recipe in place of what it derives.

    Args:
        found: settings for a corpus as it is now.
        utterances: in the corpus.
        speakers: S, or a guess.
    """
    recipe = Choice("recipe", "adaptive", "batches, clusters, crops and schedules follow the corpus whenever it is listed anew")
    ratio = Choice("utterances_per_speaker", round(max(1.0, utterances / speakers), 1), "a guess, for the numbers of clusters")
    return [recipe, ratio, *(choice for choice in found if choice.key not in derivable())]


def derivation(experiment: Experiment, overlay: Mapping[str, Any]) -> DeriveJob:
    """The job that derives settings for `experiment`.

    Args:
        overlay: what the user sets.
    """
    return DeriveJob.of(experiment, derivable() & set(keys_of(overlay)))


def derivable() -> set[str]:
    """Keys that the recipe may derive: some only for a small corpus."""
    return {choice.key for utterances in (1, MANY_UTTERANCES) for choice in choices(utterances, np.array([USUAL_SECONDS]), _job())}


def _job(epochs: int = PAPER_EPOCHS, round_epochs: int = PAPER_ROUND_EPOCHS) -> DeriveJob:
    """For a corpus that nobody has counted."""
    return DeriveJob(utterances_per_speaker=20.0, epochs=epochs, round_epochs=round_epochs, batch_size=None, round_batch_size=None, own=())


def experiment_with(defaults: Mapping[str, Any], overlay: Mapping[str, Any], derived: Mapping[str, Any] | None = None) -> Experiment:
    """The experiment that `overlay` asks for, by the recipe that it names.

    Args:
        defaults: config.yaml's.
        overlay: what the user sets.
        derived: what the recipe derived; None: as for a corpus of a usual size, until it is packed.

    Raises:
        SettingsError: a key is unknown, missing or out of range, also where what the user sets does not go with what was derived.
    """
    if overlay.get("recipe", defaults.get("recipe")) != "adaptive":
        return resolve(overlaid(defaults, overlay))
    return resolve(overlaid(defaults, merged(_usual(defaults, overlay) if derived is None else derived, overlay)))


def _usual(defaults: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """What would be derived from a corpus of a usual size, with the user's epochs."""
    config = merged(defaults, overlay)
    job = _job(*(_epochs(config.get(section)) for section in ("pretrain", "train")))
    return nested(choices(USUAL_UTTERANCES, np.array([USUAL_SECONDS]), job), {})


def _epochs(section: Any) -> int:
    """Epochs that settings nobody has checked yet name; some number where they name none, or nonsense."""
    epochs = section.get("epochs") if isinstance(section, Mapping) else None
    return epochs if isinstance(epochs, int) and epochs > 0 else 100
