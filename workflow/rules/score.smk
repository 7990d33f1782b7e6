"""Scores, error rates, the quality of the clusters, and the report. Speakers are known here, and nothing flows back (see `finetune`)."""


use rule stage as score with:
    input:
        trials=FILES.trials,
        manifest=FILES.of_test_corpus("<results>/data/{corpus}/manifest.parquet"),
        embeddings=FILES.of_test_corpus("<results>/{system}/embeddings/{corpus}.parquet"),
        train_embeddings="<results>/{system}/embeddings/<train>.parquet",
        pseudo_labels="<results>/{system}/pseudo_labels.parquet",
    output:
        "<results>/{system}/scores/{trials}.parquet",
    log:
        "<logs>/score-{system}-{trials}.log",
    threads: 2
    resources:
        mem_mb=16000,
        runtime=60,
    params:
        **script("score", EXPERIMENT.score),


use rule tiny_stage as quality with:
    input:
        pseudo_labels="<results>/{system}/pseudo_labels.parquet",
        speakers="<results>/data/<train>/speakers.parquet",
    output:
        "<results>/{system}/cluster_quality.parquet",
    log:
        "<logs>/quality-{system}.log",
    params:
        **script("quality"),


use rule tiny_stage as record with:
    output:
        "<results>/settings.json",
    log:
        "<logs>/record.log",
    params:
        **script("record", SETTINGS),


use rule tiny_stage as metrics with:
    input:
        scores=FILES.of_systems("<results>/{system}/scores/{trials}.parquet", SYSTEMS + FINETUNED),
    output:
        "<results>/metrics.parquet",
    log:
        "<logs>/metrics.log",
    params:
        **script("metrics", EXPERIMENT.metrics, table=f"{RESULTS}/logs/metrics.txt"),


# The script finds what there is in the experiment's folder by itself.
use rule tiny_stage as report with:
    input:
        os.path.relpath(REPOSITORY / "workflow" / "report" / "report.html.j2"),
        expand("<results>/data/{corpus}/{table}.parquet", corpus=EXPERIMENT.corpora, table=["manifest", "left_out"]),
        "<results>/data/<train>/speakers.parquet",
        "<results>/metrics.parquet" if EXPERIMENT.trials else [],
        FILES.of_systems("<results>/{system}/scores/{trials}.parquet", SYSTEMS),
        FILES.of_systems("<results>/{system}/{table}.parquet", DESCRIBED, table=["pseudo_labels", "cluster_quality"]),
        FILES.of_systems("<results>/{system}/history.parquet", TRAINED + LARGE_MARGIN + FINETUNED),
        FILES.of_systems("<results>/{system}/{table}.parquet", ROUNDS[1:], table=["gate", "losses"]),
        FILES.of_systems("<results>/{system}/modality_quality.parquet", COMPARED),
        expand("<results>/data/<train>/{table}.parquet", table=["faces", "face_manifest"] if AUDIO_VISUAL else []),
    output:
        "<results>/report.html",
    log:
        "<logs>/report.log",
    params:
        **script("report", SETTINGS, results=RESULTS),
