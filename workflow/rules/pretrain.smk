"""Stage I: CA-DINO, and the systems that it must beat."""

from selfsv.settings.jobs import BaselineJob, PretrainJob

# Both lead to CA-DINO's model: the one is trained, the other taken over.
if EXPERIMENT.initial_model:

    ruleorder: adopt > pretrain

else:

    ruleorder: pretrain > adopt


rule pretrained:
    input:
        f"{RESULTS}/checks/corpus.json",
        f"{RESULTS}/iter_0/model.pt",


use rule training as pretrain with:
    input:
        **training_data(TRAIN),
        code=code("pretrain"),
    output:
        model="results/{experiment}/iter_0/model.pt",
        history="results/{experiment}/iter_0/history.parquet",
    log:
        "results/{experiment}/logs/pretrain.log",
    params:
        script="pretrain",
        settings=PretrainJob.of(EXPERIMENT).to_json(),


rule adopt:
    input:
        code=code("adopt"),
        initial_model=EXPERIMENT.initial_model or [],
    output:
        "results/{experiment}/iter_0/model.pt",
    log:
        "results/{experiment}/logs/adopt.log",
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=10,
    shell:
        "python -m pipeline.adopt --initial-model {input.initial_model:q} --model {output:q} 2> {log:q}"


rule baseline:
    input:
        code=code("baseline"),
        embeddings=statistics_to_whiten,
    output:
        "results/{experiment}/baseline_{kind}/model.pt",
    log:
        "results/{experiment}/logs/baseline_{kind}.log",
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=15,
    params:
        settings=BaselineJob.of(EXPERIMENT).to_json(),
        embeddings=lambda wildcards, input: ["--embeddings", input.embeddings] if input.embeddings else [],
    shell:
        "python -m pipeline.baseline --settings {params.settings:q} --kind {wildcards.kind} {params.embeddings:q}"
        " --model {output:q} 2> {log:q}"
