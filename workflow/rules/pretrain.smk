"""Stage I: CA-DINO, and the systems that it must beat."""

if EXPERIMENT.initial_model:

    use rule stage as adopt with:
        input:
            initial_model=EXPERIMENT.initial_model,
        output:
            model="<results>/iter_0/model.pt",
        pathvars:
            job="adopt",
        localrule: True
        params:
            **script("adopt"),

elif EXPERIMENT.starts_from_ivectors:

    use rule device_stage as ivector with:
        input:
            **FILES.packed_corpus("<train>"),
        output:
            model="<results>/iter_0/model.pt",
        pathvars:
            job="ivector",
        params:
            **script("ivector", jobs.IvectorJob.of(EXPERIMENT)),

else:

    use rule training as pretrain with:
        input:
            **FILES.training_data("<train>"),
        output:
            **FILES.of_training("<results>/iter_0"),
        pathvars:
            job="pretrain",
        params:
            **script("pretrain", DERIVED(jobs.PretrainJob.of), module=FILES.objective),
            runtime=JOBS.options(*TRAINING_OPTIONS, "shared_start", state=f"{RESULTS}/state"),


use rule stage as baseline with:
    input:
        embeddings=FILES.statistics_to_whiten,
    output:
        model="<results>/baseline_{kind}/model.pt",
    pathvars:
        job="baseline_{kind}",
    localrule: True
    params:
        **script("baseline", jobs.BaselineJob.of(EXPERIMENT), kind="{kind}"),
