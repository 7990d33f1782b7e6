"""What all rules share: names, constraints on them, and helpers that turn the experiment into inputs and options."""

import re
from functools import cache
from pathlib import Path

from selfsv.scoring import systems as names
from workflow.environment import prepare
from workflow.imports import source_files
from workflow.liveness import acquire_run_lock

REPOSITORY = Path(workflow.basedir)

prepare(REPOSITORY)

# Held until this process ends. The processes of single jobs belong to a run that holds it already.
ALIVE = acquire_run_lock(EXPERIMENT.experiment) if workflow.is_main_process else None

RESULTS = f"results/{EXPERIMENT.experiment}"
RUNTIME = EXPERIMENT.runtime
TRAIN = EXPERIMENT.train_corpus
SHARDS = range(EXPERIMENT.pack.shards)
ROUNDS = [f"iter_{i}" for i in range(EXPERIMENT.rounds + 1)]
TRAINED = ROUNDS[1:] if EXPERIMENT.initial_model else ROUNDS
LARGE_MARGIN = [names.LARGE_MARGIN] if EXPERIMENT.large_margin.enabled else []
SYSTEMS = names.systems(EXPERIMENT.rounds, EXPERIMENT.baselines) + LARGE_MARGIN
# Told of speakers, they are scored beside the others, and nothing else is made of them.
FINETUNED = names.finetuned(EXPERIMENT.finetune.starts, EXPERIMENT.finetune.percent)
# Those whose clusters the report describes. Baselines are there to be scored, and nothing else is made of them.
DESCRIBED = SYSTEMS if EXPERIMENT.trials else ROUNDS + LARGE_MARGIN

AUDIO_VISUAL = EXPERIMENT.modality == "audio_visual"
COMPARED = ROUNDS[1:] if AUDIO_VISUAL and EXPERIMENT.faces.compare_modalities else []

# Handed to jobs as resources, like all of RUNTIME: a change of resources never reruns a job.
GPUS = 0 if RUNTIME.device == "cpu" else RUNTIME.gpus
PROCESSES = max(GPUS, 1) * RUNTIME.nodes
# Cores and data workers are named for one GPU: eight of them are fed by eight times as many.
TRAINING_THREADS = RUNTIME.threads * max(GPUS, 1)
TRAINING_RESOURCES = {"gpus_per_node": GPUS, "nodes": RUNTIME.nodes, "workers": RUNTIME.workers * max(GPUS, 1)}
# What SLURM is asked for: of one node so many GPUs, of several nodes so many on each; and cores of a node, not for each GPU.
TRAINING_RESOURCES |= {"gpu": GPUS} if RUNTIME.nodes == 1 or not GPUS else {"gres": f"gpu:{GPUS}"}
TRAINING_RESOURCES |= {"cpus_per_task": lambda wildcards, threads: threads}


wildcard_constraints:
    experiment=re.escape(EXPERIMENT.experiment),
    system=r"baseline_(?:fbank|untrained|whitened)|iter_(?:0|[1-9]\d*)|large_margin|finetuned_(?:random|iter_(?:0|[1-9]\d*))_[1-9]\d*",
    kind="fbank|untrained|whitened",
    corpus="|".join(map(re.escape, EXPERIMENT.corpora)),
    trials="|".join(map(re.escape, EXPERIMENT.trials)) or "none",
    shard=r"0|[1-9]\d*",
    i=r"[1-9]\d*",
    start=r"random|iter_(?:0|[1-9]\d*)",
    percent=r"[1-9]\d*",


@cache
def code(stage):
    """The files that a stage's script consists of, as inputs: editing one reruns the stage.

    Those of `selfsv/settings` are left out: they only declare, and the values reach the stage as parameters. The paths are
    relative, so that a repository that was moved together with its results is still up to date.
    """
    files = source_files(REPOSITORY / "pipeline" / f"{stage}.py", REPOSITORY, REPOSITORY / "selfsv" / "settings")
    return [os.path.relpath(file) for file in files]


def packed(pattern, corpus="{corpus}"):
    """The files of all shards of a corpus."""
    return expand(pattern, corpus=corpus, shard=SHARDS, allow_missing=True)


def training_data(corpus):
    """What every training reads, by the name of its option."""
    return {
        "manifest": f"results/{{experiment}}/data/{corpus}/manifest.parquet",
        "audio": packed("results/{experiment}/data/{corpus}/audio-{shard}.pt", corpus),
        "noise": "results/{experiment}/data/noise.pt",
        "rirs": "results/{experiment}/data/rirs.pt",
    }


def file_options(wildcards, input, output):
    """The options that hand a rule's named files to its script: `face_model` becomes --face-model. One without files is left out."""
    files = {**dict(input.items()), **dict(output.items())}
    named = {name: [paths] if isinstance(paths, str) else list(paths) for name, paths in files.items() if name != "code"}
    return [word for name, paths in named.items() if paths for word in (f"--{name.replace('_', '-')}", *paths)]


def listing_file(wildcards):
    """The user's listing, where the corpus is one. The trees of the other layouts are not looked at by the workflow."""
    corpus = EXPERIMENT.corpora[wildcards.corpus]
    return corpus.path if corpus.layout == "listing" else []


def listing_settings(wildcards):
    """Where the audio of a corpus lies. Naming its videos, or a table of its speakers, must not have the audio packed anew."""
    return EXPERIMENT.corpora[wildcards.corpus].model_copy(update={"video": None, "speakers_table": None}).to_json()


def trial_file(wildcards):
    """The user's trial list."""
    path = EXPERIMENT.trials[wildcards.trials].path
    if not os.path.exists(path):
        raise WorkflowError(
            f"config key 'trials.{wildcards.trials}.path': there is no file '{printable(path)}' (relative to {os.getcwd()})"
        )
    return path


def test_corpus(wildcards):
    """The corpus that a trial list's utterances belong to."""
    return EXPERIMENT.trials[wildcards.trials].corpus


def statistics_to_whiten(wildcards):
    """The training corpus's fbank statistics, for the baseline that is fitted to them."""
    whitened = wildcards.kind == "whitened"
    return f"results/{wildcards.experiment}/baseline_fbank/embeddings/{TRAIN}.parquet" if whitened else []


def previous_labels(wildcards):
    """The pseudo labels of the round before."""
    return f"results/{wildcards.experiment}/iter_{int(wildcards.i) - 1}/pseudo_labels.parquet"


def start_of_finetuning(wildcards):
    """The model whose encoder is tuned; none where it begins with random weights."""
    return [] if wildcards.start == "random" else f"results/{wildcards.experiment}/{wildcards.start}/model.pt"


def modality_of_labels(wildcards):
    """What a system's pseudo labels are made of: CA-DINO and the baselines know voices alone."""
    return "joint" if AUDIO_VISUAL and wildcards.system in ROUNDS[1:] else "audio"


def of_systems(pattern, systems=SYSTEMS):
    """`pattern` for every system, and every trial list where it names one."""
    return expand(pattern, system=systems, trials=EXPERIMENT.trials, allow_missing=True)


def settings_of_report():
    """The whole configuration but for the runtime's options, whose change must not rerun anything."""
    return type(EXPERIMENT)(**EXPERIMENT.model_dump(exclude={"runtime"})).to_json()


def summary():
    """What to look at after a run: the table of error rates or, without trials, the models; and where the report lies."""
    table, page = Path(RESULTS, "logs", "metrics.txt"), Path(RESULTS, "report.html")
    place = f"Report: {page.resolve()}" if page.exists() else f"Results so far: {Path(RESULTS).resolve()}"
    if EXPERIMENT.trials:
        return f"{table.read_text()}\n{place}" if table.exists() else place
    models = {names.title(system): Path(RESULTS, system, "model.pt") for system in ROUNDS + LARGE_MARGIN + FINETUNED}
    made = [f"  {title}: {path.resolve()}" for title, path in models.items() if path.exists()]
    return "\n".join(["The configuration names no trial lists, so nothing was scored. Models:", *made, place])
