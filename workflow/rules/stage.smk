"""The rules that all others inherit. A rule's files have the names of its script's options (workflow/stages.py); `job` names its log and
benchmark. A changed option of `script` reruns the stage. One of JOBS, which say how a job is carried out, reruns nothing."""


rule stage:
    log:
        "<logs>/<job>.log",
    benchmark:
        "<results>/benchmarks/<job>.tsv"
    pathvars:
        job="stage",
    conda:
        None if IMAGE else "../../envs/faces.yaml" if EXPERIMENT.modality == "audio_visual" else "../../envs/selfsv.yaml"
    threads: 1
    resources:
        mem_mb=JOBS.memory(8000),
        runtime=240,
    params:
        launcher="python -m",
        files=file_options,
        runtime=[],
        terminal="--quiet",
    # No module is looked for in the working directory: a `json.py` beside someone's recordings is no part of a stage.
    shell:
        "PYTHONSAFEPATH=1 {params.launcher} pipeline.{params.script} {params.options:q} {params.files:q} {params.runtime:q}"
        " --log {log:q} {params.terminal}"


use rule stage as parallel_stage with:
    threads: 2
    resources:
        mem_mb=JOBS.memory(16000),
        runtime=240,
    params:
        runtime=JOBS.options("threads"),


use rule stage as device_stage with:
    threads: EXPERIMENT.runtime.threads
    resources:
        mem_mb=JOBS.memory(32000),
        runtime=720,
        gpu=min(JOBS.gpus, 1),
    params:
        runtime=JOBS.options("threads", "device"),


# A trainer's state is no output: a job that was killed or timed out goes on from there.
use rule stage as training with:
    threads: JOBS.training_threads
    resources:
        **JOBS.training_resources,
        mem_mb=64000,
        runtime=2880,
    params:
        launcher=JOBS.launcher,
        runtime=JOBS.options(*TRAINING_OPTIONS, state=f"{RESULTS}/state"),
        terminal="",
