"""Scores on the trial lists and the quality of the clusters. Speakers are known here, and nothing flows back (see also `finetune`)."""


rule score:
    input:
        code=code("score"),
        trials=trial_file,
        manifest=lambda wildcards: f"{RESULTS}/data/{test_corpus(wildcards)}/manifest.parquet",
        embeddings=lambda wildcards: f"{RESULTS}/{wildcards.system}/embeddings/{test_corpus(wildcards)}.parquet",
        train_embeddings=f"results/{{experiment}}/{{system}}/embeddings/{TRAIN}.parquet",
        pseudo_labels="results/{experiment}/{system}/pseudo_labels.parquet",
    output:
        "results/{experiment}/{system}/scores/{trials}.parquet",
    log:
        "results/{experiment}/logs/score-{system}-{trials}.log",
    conda:
        "../../envs/score.yaml"
    threads: 2
    resources:
        mem_mb=16000,
        runtime=60,
    params:
        settings=EXPERIMENT.score.to_json(),
    shell:
        "python -m pipeline.score --settings {params.settings:q} --trials {input.trials:q} --manifest {input.manifest:q}"
        " --embeddings {input.embeddings:q} --train-embeddings {input.train_embeddings:q}"
        " --pseudo-labels {input.pseudo_labels:q} --output {output:q} 2> {log:q}"


rule quality:
    input:
        code=code("quality"),
        pseudo_labels="results/{experiment}/{system}/pseudo_labels.parquet",
        speakers=f"results/{{experiment}}/data/{TRAIN}/speakers.parquet",
    output:
        "results/{experiment}/{system}/cluster_quality.parquet",
    log:
        "results/{experiment}/logs/quality-{system}.log",
    conda:
        "../../envs/score.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=30,
    shell:
        "python -m pipeline.quality --pseudo-labels {input.pseudo_labels:q} --speakers {input.speakers:q} --output {output:q} 2> {log:q}"
