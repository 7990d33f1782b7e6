"""Ablations: rows of the paper's tables on a small corpus, each trained from several seeds.

    make demo-av
    snakemake --cores 2 --snakefile benchmarks/ablation.smk --configfile demo/config.yaml benchmarks/ablation.yaml

The last overlay has a section `ablation`, which says what is compared; each row is an overlay of its own on all else. Data, and
what pseudo labels are made of, are those of finished experiments. Like the main workflow it goes on where it was stopped.

Rows are trainings of stage I (`pretraining`), one round on given labels (`rounds`), or whole systems (`systems`): a training of
stage I by an overlay of systems/, and rounds of which each learns the clusters of the one before; a system with the key `stage_one`
has rounds alone, which begin with another row's stage I, and learn the speakers themselves with `labels: speakers`. A system's
`train_corpus` may hold `{seed}`. `finetuned` adds what a few speaker labels make of the systems' stage I.
"""

import os
import sys
from pathlib import Path

REPOSITORY = Path(workflow.basedir).parent
sys.path.insert(0, str(REPOSITORY))

from selfsv.settings.experiment import merged, overlaid, resolve
from selfsv.settings.jobs import CompleteTuneJob, DiagnoseJob, IvectorJob, PretrainJob, TrainJob, TuneJob
from selfsv.settings.reading import read_file
from workflow.environment import prepare

prepare(REPOSITORY, image=None)
os.environ["PYTHONSAFEPATH"] = "1"  # a `json.py` in the working directory is no part of a stage

# Without a directive `configfile`, Snakemake's `config` holds the overlays alone.
CONFIG, OVERLAYS = read_file(REPOSITORY / "config.yaml"), dict(config)
ABLATION = {"pretraining": {}, "labels": {}, "rounds": [], "systems": {}, "finetuned": {}, **OVERLAYS.pop("ablation")}
COMMON = resolve(overlaid(CONFIG, OVERLAYS))
SEEDS = [f"seed_{seed}" for seed in ABLATION["seeds"]]
LISTS = list(COMMON.trials)
# All rows by the folder that they are kept in, with their changes.
PRETRAINED = {f"pretraining/{row}": changes for row, changes in ABLATION["pretraining"].items()}
STAGE_ONE = {row: changes.pop("stage_one", row) for row, changes in ABLATION["systems"].items()}
ON_SPEAKERS = {row for row, changes in ABLATION["systems"].items() if changes.pop("labels", "clusters") == "speakers"}
PRETRAINED |= {f"systems/{row}/iter_0": changes for row, changes in ABLATION["systems"].items() if STAGE_ONE[row] == row}
ROUNDS = {
    f"rounds/{labels}/{row}": changes for part in ABLATION["rounds"] for labels in part["labels"] for row, changes in part["rows"].items()
}
ROUNDS |= {f"systems/{row}/iter_{index + 1}": changes for row, changes in ABLATION["systems"].items() for index in range(COMMON.rounds)}
FINETUNED = [f"finetuned/{start}/{part}" for start, parts in ABLATION["finetuned"].items() for part in parts]
FOLDER = f"results/{COMMON.experiment}"
ON = f"--device {COMMON.runtime.device} --precision {COMMON.runtime.precision}"
TRAINED_ON = f"{ON} --workers {COMMON.runtime.workers}"


def changed(changes, seed="seed_1"):
    """The experiment with a row's changes, on top of an overlay of systems/ where they name one."""
    changes = dict(changes or {})
    system = read_file(REPOSITORY / changes.pop("overlay")) if "overlay" in changes else {}
    values = overlaid(CONFIG, merged(system, OVERLAYS))
    corpus = changes.pop("train_corpus", COMMON.train_corpus).format(seed=seed)
    return resolve(merged(values, {**changes, "train_corpus": corpus, "seed": int(seed.removeprefix("seed_"))}))


def corpus_of(wildcards):
    """The corpus that a row learns from."""
    return changed((PRETRAINED | ROUNDS).get(wildcards.row), wildcards.seed).train_corpus


IVECTORS = {row for row, changes in PRETRAINED.items() if changed(changes).pretrain.method == "ivector"}


def round_of(wildcards):
    """The number of a round, from 1."""
    iteration = wildcards.row.split("/")[2]
    return int(iteration.removeprefix("iter_")) if iteration.startswith("iter_") else 1


def before(wildcards):
    """The folder of what a system's round follows on."""
    name, number = wildcards.row.split("/")[1], round_of(wildcards) - 1
    return f"{FOLDER}/systems/{name if number else STAGE_ONE[name]}/iter_{number}/{wildcards.seed}"


def labels_of(wildcards):
    """The labels of a round: given ones, or the clusters of the stage before."""
    kind, name, _ = wildcards.row.split("/")
    if name in ON_SPEAKERS:
        return f"{FOLDER}/speakers/{corpus_of(wildcards)}.parquet"
    return f"{FOLDER}/labels/{name}.parquet" if kind == "rounds" else f"{before(wildcards)}/pseudo_labels.parquet"


def train_job(wildcards):
    """The settings of a round."""
    return TrainJob.of_round(changed(ROUNDS[wildcards.row], wildcards.seed), round_of(wildcards))


def clustering_of(wildcards):
    """The clustering settings of a row, with its own changes. Fine-tuned rows have the common ones."""
    return changed((PRETRAINED | ROUNDS).get(wildcards.row)).cluster


def weights_before(wildcards):
    """The model and embeddings that a round starts from; none for random weights."""
    start = train_job(wildcards).train.start
    if start == "new":
        return {}
    name = wildcards.row.split("/")[1]
    origin = before(wildcards) if start == "previous" else f"{FOLDER}/systems/{STAGE_ONE[name]}/iter_0/{wildcards.seed}"
    return {"start": f"{origin}/model.pt", "embeddings": f"{origin}/embeddings/{corpus_of(wildcards)}.parquet"}


def start_of(wildcards):
    """The encoder that a fine-tuning starts from; None for random weights."""
    start = wildcards.row.split("/")[1]
    return None if start == "random" else f"{FOLDER}/systems/{start}/iter_0/{wildcards.seed}/model.pt"


def manifest_of(wildcards):
    """The manifest of the corpus that a row learns from."""
    return f"{ABLATION['data']}/{corpus_of(wildcards)}/manifest.parquet"


def packed_of(wildcards):
    """The packed audio of the corpus that a row learns from."""
    return packed(corpus_of(wildcards))


def clustered_embeddings(wildcards):
    """A model's embeddings of what it was trained on."""
    return f"{FOLDER}/{wildcards.row}/{wildcards.seed}/embeddings/{corpus_of(wildcards)}.parquet"


def packed(corpus):
    """The shards of a corpus, in their order."""
    return expand("{data}/{corpus}/audio-{shard}.pt", data=ABLATION["data"], corpus=corpus, shard=range(COMMON.pack.shards))


wildcard_constraints:
    row="|".join(map(re.escape, [*PRETRAINED, *ROUNDS, *FINETUNED])),
    seed="|".join(SEEDS),
    labels="|".join(ABLATION["labels"]) or "none",
    corpus="|".join(COMMON.corpora),


localrules:
    table,


rule table:
    default_target: True
    input:
        expand(f"{FOLDER}/{{row}}/{{seed}}/scores/{{trials}}.parquet", row=[*PRETRAINED, *ROUNDS, *FINETUNED], seed=SEEDS, trials=LISTS),
        expand(f"{FOLDER}/labels/{{labels}}.parquet", labels=ABLATION["labels"]),
        speakers=f"{ABLATION['data']}/{COMMON.train_corpus}/speakers.parquet",
    output:
        f"{FOLDER}/ablation.parquet",
    params:
        settings=COMMON.metrics.to_json(),
        folder=FOLDER,
        script=REPOSITORY / "benchmarks" / "ablation_table.py",
    shell:
        "python {params.script:q} --settings {params.settings:q} --folder {params.folder:q} --speakers {input.speakers:q} --output {output:q}"


rule labels:
    input:
        embeddings=lambda wildcards: ABLATION["labels"][wildcards.labels]["embeddings"],
    output:
        f"{FOLDER}/labels/{{labels}}.parquet",
    params:
        settings=lambda wildcards: changed(ABLATION["labels"][wildcards.labels].get("changes")).cluster.to_json(),
        modality=lambda wildcards: ABLATION["labels"][wildcards.labels].get("modality", "audio"),
        shuffled=lambda wildcards: ABLATION["labels"][wildcards.labels].get("shuffled", 0.0),
        script=REPOSITORY / "benchmarks" / "shuffle_labels.py",
    shell:
        "python -m pipeline.cluster --settings {params.settings:q} --seed 1 --embeddings {input.embeddings:q}"
        " --modality {params.modality} --output {output:q} --threads 1"
        " && python {params.script:q} {output:q} --share {params.shuffled}"


rule speakers:
    input:
        speakers=f"{ABLATION['data']}/{{corpus}}/speakers.parquet",
        manifest=f"{ABLATION['data']}/{{corpus}}/manifest.parquet",
    output:
        f"{FOLDER}/speakers/{{corpus}}.parquet",
    params:
        script=REPOSITORY / "benchmarks" / "speakers_as_labels.py",
    shell:
        "python {params.script:q} {input.speakers:q} --manifest {input.manifest:q} --output {output:q}"


rule pretrain:
    input:
        manifest=manifest_of,
        audio=packed_of,
        noise=f"{ABLATION['data']}/noise.pt",
        rirs=f"{ABLATION['data']}/rirs.pt",
    output:
        model=f"{FOLDER}/{{row}}/{{seed}}/model.pt",
        history=f"{FOLDER}/{{row}}/{{seed}}/history.parquet",
    log:
        f"{FOLDER}/{{row}}/{{seed}}/train.log",
    wildcard_constraints:
        row="|".join(map(re.escape, PRETRAINED.keys() - IVECTORS)) or "none",
    threads: COMMON.runtime.threads
    resources:
        gpu=int(COMMON.runtime.device != "cpu"),
    params:
        settings=lambda wildcards: PretrainJob.of(changed(PRETRAINED[wildcards.row], wildcards.seed)).to_json(),
        state=f"{FOLDER}/state",
        start=f"{FOLDER}/starts",
        on=TRAINED_ON,
    shell:
        "python -m pipeline.pretrain --settings {params.settings:q} --manifest {input.manifest:q} --audio {input.audio:q}"
        " --noise {input.noise:q} --rirs {input.rirs:q} --model {output.model:q} --history {output.history:q}"
        " --state {params.state:q} --shared-start {params.start:q} {params.on} --threads {threads} 2> {log:q}"


rule ivector:
    input:
        manifest=manifest_of,
        audio=packed_of,
    output:
        model=f"{FOLDER}/{{row}}/{{seed}}/model.pt",
    log:
        f"{FOLDER}/{{row}}/{{seed}}/train.log",
    wildcard_constraints:
        row="|".join(map(re.escape, IVECTORS)) or "none",
    threads: COMMON.runtime.threads
    resources:
        gpu=int(COMMON.runtime.device != "cpu"),
    params:
        settings=lambda wildcards: IvectorJob.of(changed(PRETRAINED[wildcards.row], wildcards.seed)).to_json(),
        on=ON,
    shell:
        "python -m pipeline.ivector --settings {params.settings:q} --manifest {input.manifest:q} --audio {input.audio:q}"
        " --model {output.model:q} {params.on} --threads {threads} 2> {log:q}"


rule train:
    input:
        unpack(weights_before),
        labels=labels_of,
        manifest=manifest_of,
        audio=packed_of,
        noise=rules.pretrain.input.noise,
        rirs=rules.pretrain.input.rirs,
    output:
        model=f"{FOLDER}/{{row}}/{{seed}}/model.pt",
        history=f"{FOLDER}/{{row}}/{{seed}}/history.parquet",
        gate=f"{FOLDER}/{{row}}/{{seed}}/gate.parquet",
        losses=f"{FOLDER}/{{row}}/{{seed}}/losses.parquet",
    log:
        f"{FOLDER}/{{row}}/{{seed}}/train.log",
    wildcard_constraints:
        row="|".join(map(re.escape, ROUNDS)) or "none",
    threads: COMMON.runtime.threads
    resources:
        gpu=int(COMMON.runtime.device != "cpu"),
    params:
        settings=lambda wildcards: train_job(wildcards).to_json(),
        start=lambda wildcards: [word for name, path in weights_before(wildcards).items() for word in (f"--{name}", path)],
        state=f"{FOLDER}/state",
        on=TRAINED_ON,
    shell:
        "python -m pipeline.train --settings {params.settings:q} {params.start:q} --iteration 1 --labels {input.labels:q}"
        " --manifest {input.manifest:q} --audio {input.audio:q} --noise {input.noise:q} --rirs {input.rirs:q}"
        " --model {output.model:q} --history {output.history:q} --gate {output.gate:q} --losses {output.losses:q}"
        " --state {params.state:q} {params.on} --threads {threads} 2> {log:q}"


rule finetune:
    input:
        start=lambda wildcards: start_of(wildcards) or [],
        speakers=lambda wildcards: f"{ABLATION['data']}/{corpus_of(wildcards)}/speakers.parquet",
        manifest=manifest_of,
        audio=packed_of,
        noise=rules.pretrain.input.noise,
        rirs=rules.pretrain.input.rirs,
    output:
        model=f"{FOLDER}/{{row}}/{{seed}}/model.pt",
        history=f"{FOLDER}/{{row}}/{{seed}}/history.parquet",
    log:
        f"{FOLDER}/{{row}}/{{seed}}/train.log",
    wildcard_constraints:
        row="|".join(map(re.escape, FINETUNED)) or "none",
    threads: COMMON.runtime.threads
    resources:
        gpu=int(COMMON.runtime.device != "cpu"),
    params:
        settings=lambda wildcards: (TuneJob if start_of(wildcards) else CompleteTuneJob).on_labels(changed({}, wildcards.seed)).to_json(),
        start=lambda wildcards, input: ["--start", input.start] if input.start else [],
        percent=lambda wildcards: wildcards.row.split("/")[2],
        state=f"{FOLDER}/state",
        on=TRAINED_ON,
    shell:
        "python -m pipeline.finetune --settings {params.settings:q} {params.start:q} --percent {params.percent} --speakers {input.speakers:q}"
        " --manifest {input.manifest:q} --audio {input.audio:q} --noise {input.noise:q} --rirs {input.rirs:q}"
        " --model {output.model:q} --history {output.history:q}"
        " --state {params.state:q} {params.on} --threads {threads} 2> {log:q}"


rule extract:
    input:
        model=f"{FOLDER}/{{row}}/{{seed}}/model.pt",
        manifest=f"{ABLATION['data']}/{{corpus}}/manifest.parquet",
        audio=lambda wildcards: packed(wildcards.corpus),
    output:
        f"{FOLDER}/{{row}}/{{seed}}/embeddings/{{corpus}}.parquet",
    log:
        f"{FOLDER}/{{row}}/{{seed}}/extract-{{corpus}}.log",
    threads: COMMON.runtime.threads
    resources:
        gpu=int(COMMON.runtime.device != "cpu"),
    params:
        on=ON,
    shell:
        "python -m pipeline.extract --model {input.model:q} --manifest {input.manifest:q} --audio {input.audio:q}"
        " --output {output:q} {params.on} --threads {threads} 2> {log:q}"


rule cluster:
    input:
        clustered_embeddings,
    output:
        f"{FOLDER}/{{row}}/{{seed}}/pseudo_labels.parquet",
    log:
        f"{FOLDER}/{{row}}/{{seed}}/cluster.log",
    params:
        settings=lambda wildcards: clustering_of(wildcards).to_json(),
    shell:
        "python -m pipeline.cluster --settings {params.settings:q} --seed 1 --embeddings {input:q} --output {output:q} --threads 1 2> {log:q}"


rule extract_parts:
    input:
        model=f"{FOLDER}/{{row}}/{{seed}}/model.pt",
        manifest=manifest_of,
        audio=packed_of,
    output:
        f"{FOLDER}/{{row}}/{{seed}}/part_embeddings.parquet",
    log:
        f"{FOLDER}/{{row}}/{{seed}}/extract_parts.log",
    threads: COMMON.runtime.threads
    params:
        on=ON,
    shell:
        "python -m pipeline.extract_parts --model {input.model:q} --manifest {input.manifest:q} --audio {input.audio:q}"
        " --output {output:q} {params.on} --threads {threads} 2> {log:q}"


# Not asked for by `table`: what benchmarks/unlabelled_evidence.py reads.
rule diagnose:
    input:
        embeddings=clustered_embeddings,
        pseudo_labels=rules.cluster.output[0],
        manifest=manifest_of,
        parts=rules.extract_parts.output[0],
    output:
        f"{FOLDER}/{{row}}/{{seed}}/diagnosis.parquet",
    log:
        f"{FOLDER}/{{row}}/{{seed}}/diagnose.log",
    threads: COMMON.runtime.threads
    params:
        settings=DiagnoseJob.of(COMMON).to_json(),
        before=lambda wildcards: ["--previous-labels", labels_of(wildcards)] if wildcards.row in ROUNDS else [],
        gate=lambda wildcards: ["--gate", f"{FOLDER}/{wildcards.row}/{wildcards.seed}/gate.parquet"] if wildcards.row in ROUNDS else [],
    shell:
        "python -m pipeline.diagnose --settings {params.settings:q} --embeddings {input.embeddings:q} --pseudo-labels {input.pseudo_labels:q}"
        " --manifest {input.manifest:q} --parts {input.parts:q} {params.before:q} {params.gate:q} --output {output:q} --threads {threads}"
        " 2> {log:q}"


rule score:
    input:
        trials=lambda wildcards: COMMON.trials[wildcards.trials].path,
        embeddings=lambda wildcards: f"{FOLDER}/{wildcards.row}/{wildcards.seed}/embeddings/{COMMON.trials[wildcards.trials].corpus}.parquet",
        train_embeddings=clustered_embeddings,
        pseudo_labels=rules.cluster.output[0],
        manifest=lambda wildcards: f"{ABLATION['data']}/{COMMON.trials[wildcards.trials].corpus}/manifest.parquet",
    output:
        f"{FOLDER}/{{row}}/{{seed}}/scores/{{trials}}.parquet",
    log:
        f"{FOLDER}/{{row}}/{{seed}}/score-{{trials}}.log",
    params:
        settings=COMMON.score.to_json(),
    shell:
        "python -m pipeline.score --settings {params.settings:q} --trials {input.trials:q} --embeddings {input.embeddings:q}"
        " --train-embeddings {input.train_embeddings:q} --pseudo-labels {input.pseudo_labels:q}"
        " --manifest {input.manifest:q} --output {output:q} 2> {log:q}"
