"""Names that all rules share, and constraints on wildcards."""

import os
import re
from functools import partial
from pathlib import Path

from selfsv.scoring import systems as names
from workflow.environment import prepare
from workflow.files import Files
from workflow.jobs import TRAINING_OPTIONS, Jobs
from workflow.liveness import acquire_run_lock
from workflow.stages import file_options, script_params
from workflow.summary import summary

prepare(REPOSITORY)

# Held until this process ends. The processes of single jobs belong to a run that holds it already.
ALIVE = acquire_run_lock(EXPERIMENT.experiment) if workflow.is_main_process else None

# How a run is carried out is no part of what it makes, and reruns nothing.
SETTINGS = type(EXPERIMENT)(**EXPERIMENT.model_dump(exclude={"runtime"}))
RESULTS = f"results/{EXPERIMENT.experiment}"
FILES = Files(EXPERIMENT)
JOBS = Jobs(EXPERIMENT.runtime)
script = partial(script_params, Path(RESULTS, "settings"))
ROUNDS = [f"iter_{i}" for i in range(EXPERIMENT.rounds + 1)]
TRAINED = ROUNDS[1:] if EXPERIMENT.initial_model else ROUNDS
LARGE_MARGIN = [names.LARGE_MARGIN] if EXPERIMENT.large_margin.enabled else []
SYSTEMS = names.systems(EXPERIMENT.rounds, EXPERIMENT.baselines) + LARGE_MARGIN
# Trained on speaker labels. They are scored beside the others, and nothing else is made of them.
FINETUNED = names.finetuned(EXPERIMENT.finetune.starts, EXPERIMENT.finetune.percent)
# The report describes the clusters of these. Baselines are there to be scored alone.
DESCRIBED = SYSTEMS if EXPERIMENT.trials else ROUNDS + LARGE_MARGIN

AUDIO_VISUAL = EXPERIMENT.modality == "audio_visual"
JOINT = ROUNDS[1:] if AUDIO_VISUAL else []  # CA-DINO and the baselines know voices alone
COMPARED = JOINT if EXPERIMENT.faces.compare_modalities else []


pathvars:
    results=RESULTS,
    logs=f"{RESULTS}/logs",
    train=EXPERIMENT.train_corpus,


wildcard_constraints:
    system=r"baseline_(?:fbank|untrained|whitened)|iter_(?:0|[1-9]\d*)|large_margin|finetuned_(?:random|iter_(?:0|[1-9]\d*))_[1-9]\d*",
    kind="fbank|untrained|whitened",
    corpus="|".join(map(re.escape, EXPERIMENT.corpora)),
    trials="|".join(map(re.escape, EXPERIMENT.trials)) or "none",
    shard=r"0|[1-9]\d*",
    i=r"[1-9]\d*",
    start=r"random|iter_(?:0|[1-9]\d*)",
    percent=r"[1-9]\d*",
