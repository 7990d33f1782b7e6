"""The rules that all others inherit, so that each of these names only what is its own.

The names of a rule's files are the names of its script's options (workflow/stages.py), and its params are the other options. A
changed param reruns the stage. How the job is carried out, `runtime`, is made of threads and resources, and reruns nothing.
"""


rule stage:
    log:
        "<logs>/stage.log",
    conda:
        "../../envs/selfsv.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=240,
    params:
        launcher="python -m",
        script="",
        options=[],
        files=file_options,
        runtime=[],
        terminal="--quiet",
    shell:
        "{params.launcher} pipeline.{params.script} {params.options:q} {params.files:q} {params.runtime:q} --log {log:q} {params.terminal}"


use rule stage as parallel_stage with:
    threads: 2
    resources:
        mem_mb=16000,
        runtime=240,
    params:
        runtime=job_options("threads"),


# A trainer's state is no output: a job that was killed or timed out goes on from there.
use rule stage as training with:
    threads: RUNTIME.threads * max(GPUS, 1)
    resources:
        **GPUS_OF_TRAINING,
        mem_mb=64000,
        runtime=2880,
        attempt=lambda wildcards, attempt: attempt,
        cpus_per_task=lambda wildcards, threads: threads,  # of a node, not of each GPU
    params:
        launcher=lambda wildcards, threads: f"python -m selfsv.engine.launch --gpus {GPUS} --nodes {RUNTIME.nodes} --threads {threads}",
        runtime=job_options("threads", "attempt", state=f"{RESULTS}/state", **TRAINING_OPTIONS),
        terminal="",
