"""What all rules share: names, constraints on them, and helpers that turn the experiment into inputs and params."""

import os
import re
from functools import partial
from pathlib import Path

from selfsv.scoring import systems as names
from workflow.environment import prepare
from workflow.liveness import acquire_run_lock
from workflow.stages import file_options, job_options, script_params
from workflow.summary import summary

prepare(REPOSITORY)

# Held until this process ends. The processes of single jobs belong to a run that holds it already.
ALIVE = acquire_run_lock(EXPERIMENT.experiment) if workflow.is_main_process else None

RESULTS = f"results/{EXPERIMENT.experiment}"
script = partial(script_params, Path(RESULTS, "settings"))
RUNTIME = EXPERIMENT.runtime
TRAIN = EXPERIMENT.train_corpus
SHARDS = range(EXPERIMENT.pack.shards)
ROUNDS = [f"iter_{i}" for i in range(EXPERIMENT.rounds + 1)]
TRAINED = ROUNDS[1:] if EXPERIMENT.initial_model else ROUNDS
LARGE_MARGIN = [names.LARGE_MARGIN] if EXPERIMENT.large_margin.enabled else []
SYSTEMS = names.systems(EXPERIMENT.rounds, EXPERIMENT.baselines) + LARGE_MARGIN
# Trained on speaker labels. They are scored beside the others, and nothing else is made of them.
FINETUNED = names.finetuned(EXPERIMENT.finetune.starts, EXPERIMENT.finetune.percent)
# The report describes the clusters of these. Baselines are there to be scored alone.
DESCRIBED = SYSTEMS if EXPERIMENT.trials else ROUNDS + LARGE_MARGIN

AUDIO_VISUAL = EXPERIMENT.modality == "audio_visual"
COMPARED = ROUNDS[1:] if AUDIO_VISUAL and EXPERIMENT.faces.compare_modalities else []

GPUS = 0 if RUNTIME.device == "cpu" else RUNTIME.gpus
PROCESSES = max(GPUS, 1) * RUNTIME.nodes
# SLURM is asked for so many GPUs of one node, or for so many of each of several nodes.
GPUS_OF_TRAINING = {"nodes": RUNTIME.nodes} | ({"gpu": GPUS} if RUNTIME.nodes == 1 or not GPUS else {"gres": f"gpu:{GPUS}"})
ENCODING_OPTIONS = {"device": RUNTIME.device, "precision": RUNTIME.precision}
TRAINING_OPTIONS = {
    **ENCODING_OPTIONS,
    "workers": RUNTIME.workers * max(GPUS, 1),  # as threads: `runtime` names those of one GPU
    "compile": str(RUNTIME.compile).lower(),
    "checkpoint_minutes": RUNTIME.checkpoint_minutes,
}


pathvars:
    results=RESULTS,
    logs=f"{RESULTS}/logs",
    train=TRAIN,


wildcard_constraints:
    system=r"baseline_fbank|baseline_untrained|iter_(?:0|[1-9]\d*)|large_margin|finetuned_(?:random|iter_(?:0|[1-9]\d*))_[1-9]\d*",
    kind="fbank|untrained",
    corpus="|".join(map(re.escape, EXPERIMENT.corpora)),
    trials="|".join(map(re.escape, EXPERIMENT.trials)) or "none",
    shard=r"0|[1-9]\d*",
    i=r"[1-9]\d*",
    start=r"random|iter_(?:0|[1-9]\d*)",
    percent=r"[1-9]\d*",


def packed(pattern, corpus="{corpus}"):
    """The files of all shards of a corpus."""
    return expand(pattern, corpus=corpus, shard=SHARDS, allow_missing=True)


def training_data(corpus):
    """What every training reads."""
    return {
        "manifest": f"<results>/data/{corpus}/manifest.parquet",
        "audio": packed("<results>/data/{corpus}/audio-{shard}.pt", corpus),
        "noise": "<results>/data/noise.pt",
        "rirs": "<results>/data/rirs.pt",
    }


def listing_file(wildcards):
    """The user's listing, where the corpus is one. The workflow does not look at the folders of the other layouts."""
    corpus = EXPERIMENT.corpora[wildcards.corpus]
    return corpus.path if corpus.layout == "listing" else []


def trial_file(wildcards):
    """The user's trial list."""
    path = EXPERIMENT.trials[wildcards.trials].path
    if not os.path.exists(path):
        raise WorkflowError(
            f"config key 'trials.{wildcards.trials}.path': there is no file '{printable(path)}' (relative to {os.getcwd()})"
        )
    return path


def of_test_corpus(pattern):
    """`pattern` for the corpus that a trial list's utterances belong to."""
    return lambda wildcards: pattern.format(corpus=EXPERIMENT.trials[wildcards.trials].corpus, **wildcards)


def of_systems(pattern, systems=SYSTEMS, **values):
    """`pattern` for every system, and every trial list where it names one."""
    return expand(pattern, system=systems, trials=EXPERIMENT.trials, **values)


def labels_of_round_before(wildcards):
    """What a round is trained on."""
    return f"<results>/iter_{int(wildcards.i) - 1}/pseudo_labels.parquet"


def modality_of_labels(wildcards):
    """What a system's pseudo labels are made of: CA-DINO and the baselines know voices alone."""
    return "joint" if AUDIO_VISUAL and wildcards.system in ROUNDS[1:] else "audio"
