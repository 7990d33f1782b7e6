"""Error rates of all systems, the page to look at, and the settings that it is all about."""

# How a run is carried out is no part of it: a change of `runtime` must not rerun anything.
SETTINGS = type(EXPERIMENT)(**EXPERIMENT.model_dump(exclude={"runtime"}))


use rule stage as record with:
    output:
        "<results>/settings.json",
    log:
        "<logs>/record.log",
    params:
        **script("record", SETTINGS),


use rule stage as metrics with:
    input:
        scores=of_systems("<results>/{system}/scores/{trials}.parquet", SYSTEMS + FINETUNED),
    output:
        "<results>/metrics.parquet",
    log:
        "<logs>/metrics.log",
    params:
        **script("metrics", EXPERIMENT.metrics, table=f"{RESULTS}/logs/metrics.txt"),


# The script finds what there is in the experiment's folder by itself.
use rule stage as report with:
    input:
        os.path.relpath(REPOSITORY / "workflow" / "report" / "report.html.j2"),
        expand("<results>/data/{corpus}/{table}.parquet", corpus=EXPERIMENT.corpora, table=["manifest", "left_out"]),
        "<results>/data/<train>/speakers.parquet",
        "<results>/metrics.parquet" if EXPERIMENT.trials else [],
        of_systems("<results>/{system}/scores/{trials}.parquet"),
        of_systems("<results>/{system}/{table}.parquet", DESCRIBED, table=["pseudo_labels", "cluster_quality"]),
        of_systems("<results>/{system}/history.parquet", TRAINED + LARGE_MARGIN + FINETUNED),
        of_systems("<results>/{system}/{table}.parquet", ROUNDS[1:], table=["gate", "losses"]),
        of_systems("<results>/{system}/modality_quality.parquet", COMPARED),
        expand("<results>/data/<train>/{table}.parquet", table=["faces", "face_manifest"] if AUDIO_VISUAL else []),
    output:
        "<results>/report.html",
    log:
        "<logs>/report.log",
    params:
        **script("report", SETTINGS, results=RESULTS),
