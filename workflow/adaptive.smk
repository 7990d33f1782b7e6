"""`recipe: adaptive`: settings that follow the packed training corpus. Derived anew when its manifest is, or with `--forcerun derive`."""


# A checkpoint cannot inherit a rule: this is `stage` once more.
checkpoint derive:
    input:
        manifest="<results>/data/<train>/manifest.parquet",
    output:
        "<results>/data/<train>/derived.yaml",
    log:
        "<logs>/derive.log",
    benchmark:
        "<results>/benchmarks/derive.tsv"
    priority: 50
    localrule: True
    conda:
        None if IMAGE else "../envs/faces.yaml" if EXPERIMENT.modality == "audio_visual" else "../envs/selfsv.yaml"
    threads: 1
    resources:
        mem_mb=JOBS.memory(8000),
        runtime=240,
    params:
        **script("derive", DERIVED.job),
        files=file_options,
    shell:
        "PYTHONSAFEPATH=1 python -m pipeline.{params.script} {params.options:q} {params.files:q} --log {log:q} --quiet"
