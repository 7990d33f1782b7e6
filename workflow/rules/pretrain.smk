"""Stage I: CA-DINO, and the systems that it must beat.

The trainers' state lies outside every output, in `state/`: a job that was killed or timed out goes on from there. What the
trainers report goes to the terminal and to the log; that copying outlives the signals that end a job, or the job's last words
would be lost.
"""

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


rule pretrain:
    input:
        code=code("pretrain"),
        manifest=f"results/{{experiment}}/data/{TRAIN}/manifest.parquet",
        audio=packed("results/{experiment}/data/{corpus}/audio-{shard}.pt", TRAIN),
        noise="results/{experiment}/data/noise.pt",
        rirs="results/{experiment}/data/rirs.pt",
    output:
        model="results/{experiment}/iter_0/model.pt",
        history="results/{experiment}/iter_0/history.parquet",
    log:
        "results/{experiment}/logs/pretrain.log",
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
        settings=PretrainJob.of(EXPERIMENT).to_json(),
    shell:
        "python -m selfsv.engine.launch --gpus {resources.gpus_per_node} --nodes {resources.nodes} --threads {threads}"
        " pipeline.pretrain --settings {params.settings:q}"
        " --manifest {input.manifest:q} --audio {input.audio:q} --noise {input.noise:q} --rirs {input.rirs:q}"
        " --model {output.model:q} --history {output.history:q} --state results/{wildcards.experiment}/state"
        " --device {resources.device} --threads {threads} --workers {resources.workers} --precision {resources.precision}"
        " --compile {resources.compile} --checkpoint-minutes {resources.checkpoint_minutes} --attempt {resources.attempt}"
        " 2> >(trap '' INT TERM; exec tee {log:q} >&2)"


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
    output:
        "results/{experiment}/baseline_{kind}/model.pt",
    log:
        "results/{experiment}/logs/baseline_{kind}.log",
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=15,
    params:
        settings=BaselineJob.of(EXPERIMENT).to_json(),
    shell:
        "python -m pipeline.baseline --settings {params.settings:q} --kind {wildcards.kind} --model {output:q} 2> {log:q}"
