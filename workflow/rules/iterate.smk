"""Stage II: rounds of extract, cluster, train. Round 0 is CA-DINO's; round i trains on the labels of round i - 1."""


use rule device_stage as extract with:
    input:
        **FILES.packed_corpus("{corpus}"),
        model="<results>/{system}/model.pt",
    output:
        "<results>/{system}/embeddings/{corpus}.parquet",
    pathvars:
        job="extract-{system}-{corpus}",
    params:
        **script("extract"),
        runtime=JOBS.options("threads", "device", "precision"),


use rule parallel_stage as cluster with:
    input:
        **FILES.to_cluster,
    output:
        "<results>/{system}/pseudo_labels.parquet",
    pathvars:
        job="cluster-{system}",
    threads: EXPERIMENT.runtime.threads
    resources:
        mem_mb=JOBS.memory(32000),
        runtime=480,
    params:
        **script("cluster", DERIVED(lambda experiment: experiment.cluster), seed=EXPERIMENT.seed, modality=SYSTEMS.clustered_modality),


use rule training as train with:
    input:
        unpack(FILES.start_of_round),
        **FILES.training_data("<train>"),
        labels=FILES.labels_of_round_before,
    output:
        **FILES.of_training("<results>/iter_{i}", "gate", "losses"),
    pathvars:
        job="train-{i}",
    params:
        **script("train", DERIVED(jobs.TrainJob.of_round, "i"), module=FILES.kept_objective, iteration="{i}"),
