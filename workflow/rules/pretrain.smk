"""Stage I: CA-DINO, and the systems that it must beat."""

from selfsv.settings.jobs import BaselineJob, PretrainJob


rule pretrained:
    input:
        "<results>/checks/corpus.json",
        "<results>/iter_0/model.pt",


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

else:

    use rule training as pretrain with:
        input:
            **training_data("<train>"),
        output:
            model="<results>/iter_0/model.pt",
            history="<results>/iter_0/history.parquet",
        log:
            "<logs>/pretrain.log",
        params:
            **script("pretrain", PretrainJob.of(EXPERIMENT)),


use rule stage as baseline with:
    output:
        model="<results>/baseline_{kind}/model.pt",
    log:
        "<logs>/baseline_{kind}.log",
    params:
        **script("baseline", BaselineJob.of(EXPERIMENT), kind="{kind}"),
