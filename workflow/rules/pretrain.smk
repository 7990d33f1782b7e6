"""Stage I: CA-DINO, and the systems that it must beat."""

from selfsv.settings.jobs import BaselineJob, IvectorJob, PretrainJob
from selfsv.settings.pretrain import OBJECTIVES

if EXPERIMENT.initial_model:

    localrules:
        adopt,

    use rule stage as adopt with:
        input:
            initial_model=EXPERIMENT.initial_model,
        output:
            model="<results>/iter_0/model.pt",
        log:
            "<logs>/adopt.log",
        params:
            **script("adopt"),

elif EXPERIMENT.starts_from_ivectors:

    use rule stage as ivector with:
        input:
            manifest="<results>/data/<train>/manifest.parquet",
            audio=FILES.packed("<results>/data/<train>/audio-{shard}.pt", EXPERIMENT.train_corpus),
        output:
            model="<results>/iter_0/model.pt",
        log:
            "<logs>/ivector.log",
        threads: EXPERIMENT.runtime.threads
        resources:
            mem_mb=32000,
            runtime=720,
            gpu=min(JOBS.gpus, 1),
        params:
            **script("ivector", IvectorJob.of(EXPERIMENT)),
            runtime=JOBS.options("threads", "device"),

else:

    use rule training as pretrain with:
        input:
            **FILES.training_data("<train>"),
        output:
            **FILES.of_training("<results>/iter_0"),
        log:
            "<logs>/pretrain.log",
        params:
            **script("pretrain", PretrainJob.of(EXPERIMENT), module=OBJECTIVES[EXPERIMENT.pretrain.method]),


use rule stage as baseline with:
    input:
        embeddings=FILES.statistics_to_whiten,
    output:
        model="<results>/baseline_{kind}/model.pt",
    log:
        "<logs>/baseline_{kind}.log",
    params:
        **script("baseline", BaselineJob.of(EXPERIMENT), kind="{kind}"),
