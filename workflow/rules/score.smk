"""Scores, error rates, quality with and without labels, the report. Speakers are known here, and nothing flows back (see `finetune`)."""


use rule stage as calibrate with:
    input:
        **FILES.clustered("{system}"),
        manifest="<results>/data/<train>/manifest.parquet",
    output:
        "<results>/{system}/calibration.parquet",
    pathvars:
        job="calibrate-{system}",
    params:
        **script("calibrate", DERIVED(jobs.CalibrationJob.of)),


use rule parallel_stage as score with:
    input:
        **FILES.cohort,
        trials=FILES.trials,
        manifest=FILES.of_test_corpus("<results>/data/{corpus}/manifest.parquet"),
        embeddings=FILES.of_test_corpus("<results>/{system}/embeddings/{corpus}.parquet"),
        calibration="<results>/{system}/calibration.parquet",
    output:
        "<results>/{system}/scores/{trials}.parquet",
    pathvars:
        job="score-{system}-{trials}",
    params:
        **script("score", DERIVED(lambda experiment: experiment.score)),
        runtime=[],  # numpy computes on the cores of the job without being asked


use rule stage as quality with:
    input:
        pseudo_labels="<results>/{system}/pseudo_labels.parquet",
        speakers="<results>/data/<train>/speakers.parquet",
    output:
        "<results>/{system}/cluster_quality.parquet",
    pathvars:
        job="quality-{system}",
    localrule: True
    params:
        **script("quality"),


# Quality without labels: two parts of one recording are of one speaker. Neither rule may be given speakers or trials.
use rule extract as extract_parts with:
    input:
        **FILES.packed_corpus("<train>"),
        model="<results>/{system}/model.pt",
    output:
        "<results>/{system}/part_embeddings.parquet",
    pathvars:
        job="extract_parts-{system}",
    params:
        **script("extract_parts"),


use rule parallel_stage as diagnose with:
    input:
        **FILES.clustered("{system}"),
        manifest="<results>/data/<train>/manifest.parquet",
        parts="<results>/{system}/part_embeddings.parquet",
        previous_labels=FILES.labels_trained_on,
        gate=FILES.gate,
    output:
        "<results>/{system}/diagnosis.parquet",
    pathvars:
        job="diagnose-{system}",
    params:
        **script("diagnose", DERIVED(jobs.DiagnoseJob.of)),


use rule stage as record with:
    input:
        **FILES.derived,
    output:
        report("<results>/settings.json", category="Experiment", labels={"what": "settings"}),
    pathvars:
        job="record",
    localrule: True
    params:
        **script("record", SETTINGS),


# An interval resamples speakers: what is known of the trials' corpora, their tables of speakers included, is read here.
use rule parallel_stage as metrics with:
    input:
        FILES.known_of_trials(),
        scores=FILES.of_systems("<results>/{system}/scores/{trials}.parquet", SYSTEMS.unlabelled + SYSTEMS.finetuned),
        manifests=FILES.of_tested_corpora("<results>/data/{corpus}/manifest.parquet"),
        speakers=FILES.of_tested_corpora("<results>/data/{corpus}/speakers.parquet"),
    output:
        output=report("<results>/metrics.parquet", category="Error rates", labels={"what": "error rates"}),
        comparisons=report("<results>/comparisons.parquet", category="Error rates", labels={"what": "differences"}),
        conditions=report("<results>/conditions.parquet", category="Error rates", labels={"what": "by condition"}),
        det_bands="<results>/det_bands.parquet",
    pathvars:
        job="metrics",
    params:
        **script("metrics", DERIVED(jobs.MetricJob.of), table=f"{RESULTS}/logs/metrics.txt"),


use rule stage as report with:
    input:
        FILES.template,
        rules.metrics.output if EXPERIMENT.trials else [],
        FILES.reported(SYSTEMS),
    output:
        report("<results>/report.html", category="Experiment", labels={"what": "figures and tables"}),
    pathvars:
        job="report",
    localrule: True
    params:
        **script("report", SETTINGS, results=RESULTS),
