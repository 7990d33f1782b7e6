"""What is tuned further after the rounds: with a large margin on the last pseudo labels, or on the labels of a few utterances.

`finetune` is the one training that is given speakers. It makes systems that are scored beside the others; nothing of CA-DINO,
of DLG-LC or of the large-margin tuning depends on it.
"""

from selfsv.settings.jobs import TuneJob


rule large_margin:
    input:
        code=code("large_margin"),
        start=f"results/{{experiment}}/{ROUNDS[-1]}/model.pt",
        embeddings=f"results/{{experiment}}/{ROUNDS[-1]}/embeddings/{TRAIN}.parquet",
        labels=f"results/{{experiment}}/{ROUNDS[-1]}/pseudo_labels.parquet",
        manifest=f"results/{{experiment}}/data/{TRAIN}/manifest.parquet",
        audio=packed("results/{experiment}/data/{corpus}/audio-{shard}.pt", TRAIN),
        noise="results/{experiment}/data/noise.pt",
        rirs="results/{experiment}/data/rirs.pt",
    output:
        model="results/{experiment}/large_margin/model.pt",
        history="results/{experiment}/large_margin/history.parquet",
    log:
        "results/{experiment}/logs/large_margin.log",
    conda:
        "../../envs/train.yaml"
    threads: TRAINING_THREADS
    resources:
        **TRAINING_RESOURCES,
        mem_mb=64000,
        runtime=2880,
        device=RUNTIME.device,
        precision=RUNTIME.precision,
        compile=str(RUNTIME.compile).lower(),
        checkpoint_minutes=str(RUNTIME.checkpoint_minutes),
        attempt=lambda wildcards, attempt: attempt,
    params:
        settings=TuneJob.with_large_margin(EXPERIMENT).to_json(),
    shell:
        "python -m selfsv.engine.launch --gpus {resources.gpus_per_node} --nodes {resources.nodes} --threads {threads}"
        " pipeline.large_margin --settings {params.settings:q} --start {input.start:q} --embeddings {input.embeddings:q}"
        " --labels {input.labels:q} --manifest {input.manifest:q} --audio {input.audio:q} --noise {input.noise:q} --rirs {input.rirs:q}"
        " --model {output.model:q} --history {output.history:q}"
        " --state results/{wildcards.experiment}/state"
        " --device {resources.device} --threads {threads} --workers {resources.workers} --precision {resources.precision}"
        " --compile {resources.compile} --checkpoint-minutes {resources.checkpoint_minutes} --attempt {resources.attempt}"
        " 2> >(trap '' INT TERM; exec tee {log:q} >&2)"


rule finetune:
    input:
        code=code("finetune"),
        start=start_of_finetuning,
        speakers=f"results/{{experiment}}/data/{EXPERIMENT.finetune.corpus}/speakers.parquet",
        manifest=f"results/{{experiment}}/data/{EXPERIMENT.finetune.corpus}/manifest.parquet",
        audio=packed("results/{experiment}/data/{corpus}/audio-{shard}.pt", EXPERIMENT.finetune.corpus),
        noise="results/{experiment}/data/noise.pt",
        rirs="results/{experiment}/data/rirs.pt",
    output:
        model="results/{experiment}/finetuned_{start}_{percent}/model.pt",
        history="results/{experiment}/finetuned_{start}_{percent}/history.parquet",
    log:
        "results/{experiment}/logs/finetune-{start}-{percent}.log",
    conda:
        "../../envs/train.yaml"
    threads: TRAINING_THREADS
    resources:
        **TRAINING_RESOURCES,
        mem_mb=64000,
        runtime=2880,
        device=RUNTIME.device,
        precision=RUNTIME.precision,
        compile=str(RUNTIME.compile).lower(),
        checkpoint_minutes=str(RUNTIME.checkpoint_minutes),
        attempt=lambda wildcards, attempt: attempt,
    params:
        settings=TuneJob.on_labels(EXPERIMENT).to_json(),
        start=lambda wildcards, input: ["--start", input.start] if input.start else [],
    shell:
        "python -m selfsv.engine.launch --gpus {resources.gpus_per_node} --nodes {resources.nodes} --threads {threads}"
        " pipeline.finetune --settings {params.settings:q} {params.start:q} --percent {wildcards.percent} --speakers {input.speakers:q}"
        " --manifest {input.manifest:q} --audio {input.audio:q} --noise {input.noise:q} --rirs {input.rirs:q}"
        " --model {output.model:q} --history {output.history:q}"
        " --state results/{wildcards.experiment}/state"
        " --device {resources.device} --threads {threads} --workers {resources.workers} --precision {resources.precision}"
        " --compile {resources.compile} --checkpoint-minutes {resources.checkpoint_minutes} --attempt {resources.attempt}"
        " 2> >(trap '' INT TERM; exec tee {log:q} >&2)"
