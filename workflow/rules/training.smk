"""What all trainings share. Each is a rule that inherits `training` and names its files, its settings and its script.

The trainers' state lies outside every output, in `state/`: a job that was killed or timed out goes on from there. What the
trainers report goes to the terminal and to the log; that copying outlives the signals that end a job, or the job's last words
would be lost.
"""


rule training:
    output:
        "results/{experiment}/state/.training",  # a place to inherit from: nothing asks for it
    log:
        "results/{experiment}/logs/training.log",
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
        script="",
        settings="{}",
        files=file_options,
        options=[],
    shell:
        "python -m selfsv.engine.launch --gpus {resources.gpus_per_node} --nodes {resources.nodes} --threads {threads}"
        " pipeline.{params.script} --settings {params.settings:q} {params.files:q} {params.options:q}"
        " --state results/{wildcards.experiment}/state --device {resources.device} --threads {threads}"
        " --workers {resources.workers} --precision {resources.precision} --compile {resources.compile}"
        " --checkpoint-minutes {resources.checkpoint_minutes} --attempt {resources.attempt}"
        " 2> >(trap '' INT TERM; exec tee {log:q} >&2)"
