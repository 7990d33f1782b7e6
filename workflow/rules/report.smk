"""Error rates of all systems, the page to look at, and the settings that it is all about."""

from selfsv.settings.jobs import MetricJob

# The corpora that the trials draw on. What is known of them, speakers included, says what an interval resamples.
TESTED = list(dict.fromkeys(trials.corpus for trials in EXPERIMENT.trials.values()))


rule record:
    input:
        code=code("record"),
    output:
        "results/{experiment}/settings.json",
    log:
        "results/{experiment}/logs/record.log",
    conda:
        "../../envs/score.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        settings=settings_of_report(),
    shell:
        "python -m pipeline.record --settings {params.settings:q} --output {output:q} 2> {log:q}"


rule metrics:
    input:
        code=code("metrics"),
        scores=of_systems("results/{experiment}/{system}/scores/{trials}.parquet", SYSTEMS + FINETUNED),
        manifests=expand("results/{experiment}/data/{corpus}/manifest.parquet", corpus=TESTED, allow_missing=True),
        speakers=expand("results/{experiment}/data/{corpus}/speakers.parquet", corpus=TESTED, allow_missing=True),
        speakers_tables=[table for corpus in TESTED if (table := EXPERIMENT.corpora[corpus].speakers_table)],
    output:
        metrics="results/{experiment}/metrics.parquet",
        comparisons="results/{experiment}/comparisons.parquet",
        det_bands="results/{experiment}/det_bands.parquet",
        conditions="results/{experiment}/conditions.parquet",
    log:
        table="results/{experiment}/logs/metrics.txt",
        messages="results/{experiment}/logs/metrics.log",
    conda:
        "../../envs/score.yaml"
    threads: 2
    resources:
        mem_mb=8000,
        runtime=120,
    params:
        settings=MetricJob.of(EXPERIMENT).to_json(),
    shell:
        "python -m pipeline.metrics --settings {params.settings:q} --scores {input.scores:q} --manifests {input.manifests:q}"
        " --speakers {input.speakers:q} --output {output.metrics:q} --comparisons {output.comparisons:q}"
        " --det-bands {output.det_bands:q} --conditions {output.conditions:q} --threads {threads} > {log.table:q} 2> {log.messages:q}"


rule report:
    input:
        code=code("report"),
        template=os.path.relpath(REPOSITORY / "workflow" / "report" / "report.html.j2"),
        metrics="results/{experiment}/metrics.parquet" if EXPERIMENT.trials else [],
        comparisons="results/{experiment}/comparisons.parquet" if EXPERIMENT.trials else [],
        det_bands="results/{experiment}/det_bands.parquet" if EXPERIMENT.trials else [],
        conditions="results/{experiment}/conditions.parquet" if EXPERIMENT.trials else [],
        manifests=expand("results/{experiment}/data/{corpus}/manifest.parquet", corpus=EXPERIMENT.corpora, allow_missing=True),
        left_out=expand("results/{experiment}/data/{corpus}/left_out.parquet", corpus=EXPERIMENT.corpora, allow_missing=True),
        speakers=f"results/{{experiment}}/data/{TRAIN}/speakers.parquet",
        scores=of_systems("results/{experiment}/{system}/scores/{trials}.parquet"),
        labels=of_systems("results/{experiment}/{system}/pseudo_labels.parquet", DESCRIBED),
        quality=of_systems("results/{experiment}/{system}/cluster_quality.parquet", DESCRIBED),
        history=of_systems("results/{experiment}/{system}/history.parquet", TRAINED + LARGE_MARGIN + FINETUNED),
        gate=of_systems("results/{experiment}/{system}/gate.parquet", ROUNDS[1:]),
        losses=of_systems("results/{experiment}/{system}/losses.parquet", ROUNDS[1:]),
        faces=f"results/{{experiment}}/data/{TRAIN}/faces.parquet" if AUDIO_VISUAL else [],
        face_manifest=f"results/{{experiment}}/data/{TRAIN}/face_manifest.parquet" if AUDIO_VISUAL else [],
        modalities=of_systems("results/{experiment}/{system}/modality_quality.parquet", COMPARED),
    output:
        "results/{experiment}/report.html",
    log:
        "results/{experiment}/logs/report.log",
    conda:
        "../../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=30,
    params:
        settings=settings_of_report(),
    shell:
        "python -m pipeline.report --settings {params.settings:q} --results results/{wildcards.experiment} --output {output:q} 2> {log:q}"
