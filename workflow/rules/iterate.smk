"""Stage II: rounds of extract, cluster, train. Round 0 is CA-DINO's; round i trains on the labels of round i - 1."""

from selfsv.settings.jobs import TrainJob


rule trained:
    input:
        f"{RESULTS}/checks/corpus.json",
        f"{RESULTS}/{ROUNDS[-1]}/model.pt",
        f"{RESULTS}/{ROUNDS[-1]}/pseudo_labels.parquet",


rule extract:
    input:
        code=code("extract"),
        model="results/{experiment}/{system}/model.pt",
        manifest="results/{experiment}/data/{corpus}/manifest.parquet",
        audio=packed("results/{experiment}/data/{corpus}/audio-{shard}.pt"),
    output:
        "results/{experiment}/{system}/embeddings/{corpus}.parquet",
    log:
        "results/{experiment}/logs/extract-{system}-{corpus}.log",
    conda:
        "../../envs/train.yaml"
    threads: RUNTIME.threads
    resources:
        mem_mb=32000,
        runtime=720,
        gpu=min(GPUS, 1),
        device=RUNTIME.device,
        precision=RUNTIME.precision,
    shell:
        "python -m pipeline.extract --model {input.model:q} --manifest {input.manifest:q}"
        " --audio {input.audio:q} --output {output:q} --device {resources.device} --threads {threads}"
        " --precision {resources.precision} 2> {log:q}"


rule cluster:
    input:
        code=code("cluster"),
        embeddings=f"results/{{experiment}}/{{system}}/embeddings/{TRAIN}.parquet",
    output:
        "results/{experiment}/{system}/pseudo_labels.parquet",
    log:
        "results/{experiment}/logs/cluster-{system}.log",
    conda:
        "../../envs/train.yaml"
    threads: RUNTIME.threads
    resources:
        mem_mb=32000,
        runtime=480,
    params:
        settings=EXPERIMENT.cluster.to_json(),
        seed=EXPERIMENT.seed,
        modality=modality_of_labels,
    shell:
        "python -m pipeline.cluster --settings {params.settings:q} --seed {params.seed} --embeddings {input.embeddings:q}"
        " --modality {params.modality} --output {output:q} --threads {threads} 2> >(exec tee {log:q} >&2)"


use rule training as train with:
    input:
        **training_data(TRAIN),
        code=code("train"),
        labels=previous_labels,
    output:
        model="results/{experiment}/iter_{i}/model.pt",
        history="results/{experiment}/iter_{i}/history.parquet",
        gate="results/{experiment}/iter_{i}/gate.parquet",
        losses="results/{experiment}/iter_{i}/losses.parquet",
    log:
        "results/{experiment}/logs/train-{i}.log",
    params:
        script="train",
        settings=TrainJob.of(EXPERIMENT).to_json(),
        options=lambda wildcards: ["--iteration", wildcards.i],
