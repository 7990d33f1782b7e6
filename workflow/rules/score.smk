"""Scores on the trial lists and the quality of the clusters. Speakers are known here, and nothing flows back (see also `finetune`)."""


use rule stage as score with:
    input:
        trials=trial_file,
        manifest=of_test_corpus("<results>/data/{corpus}/manifest.parquet"),
        embeddings=of_test_corpus("<results>/{system}/embeddings/{corpus}.parquet"),
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


use rule stage as quality with:
    input:
        pseudo_labels="<results>/{system}/pseudo_labels.parquet",
        speakers="<results>/data/<train>/speakers.parquet",
    output:
        "<results>/{system}/cluster_quality.parquet",
    log:
        "<logs>/quality-{system}.log",
    params:
        **script("quality"),
