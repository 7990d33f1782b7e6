"""What an audio-visual experiment has more: faces of the training corpus, and rounds on voices and faces (paper IV-C)."""


# Both ways lead to the same files; in an audio-visual experiment this is the one.
ruleorder: train_av > train
ruleorder: extract_av > extract


use rule stage as videos with:
    input:
        FILES.listing,
        listing="<results>/data/{corpus}/listing.parquet",
    output:
        videos="<results>/data/{corpus}/videos.parquet",
    pathvars:
        job="videos-{corpus}",
    params:
        **script("videos", FILES.corpus_with_videos),


use rule device_stage as faces with:
    input:
        videos="<results>/data/{corpus}/videos.parquet",
    output:
        images="<results>/data/{corpus}/faces-{shard}.pt",
        faces="<results>/data/{corpus}/faces-{shard}.parquet",
        manifest="<results>/data/{corpus}/face_manifest-{shard}.parquet",
    pathvars:
        job="faces-{corpus}-{shard}",
    priority: 10  # the longest way to the first training leads through here
    params:
        **script("faces", EXPERIMENT.faces.detection, shard="{shard}"),


use rule stage as face_manifest with:
    input:
        **FILES.face_shards,
    output:
        table="<results>/data/{corpus}/faces.parquet",
        manifest="<results>/data/{corpus}/face_manifest.parquet",
    pathvars:
        job="face_manifest-{corpus}",
    params:
        **script("face_manifest", max_without_face=EXPERIMENT.faces.max_without_face),


use rule train as train_av with:
    input:
        **FILES.training_data("<train>"),
        **FILES.packed_faces("<train>"),
        labels=FILES.labels_of_round_before,
    output:
        **FILES.of_training("<results>/iter_{i}", "gate", "losses"),
        face_model="<results>/iter_{i}/face_model.pt",
    pathvars:
        job="train_av-{i}",
    params:
        **script("train_av", DERIVED(jobs.TrainAvJob.of_round, "i"), iteration="{i}"),


use rule extract as extract_av with:
    input:
        **FILES.packed_corpus("<train>"),
        **FILES.packed_faces("<train>"),
        model="<results>/iter_{i}/model.pt",
        face_model="<results>/iter_{i}/face_model.pt",
    output:
        "<results>/iter_{i}/embeddings/<train>.parquet",
    pathvars:
        job="extract_av-{i}",
    params:
        **script("extract_av"),


use rule cluster as modalities with:
    input:
        **FILES.clustered("iter_{i}"),
        speakers="<results>/data/<train>/speakers.parquet",
    output:
        "<results>/iter_{i}/modality_quality.parquet",
    pathvars:
        job="modalities-{i}",
    params:
        **script("modalities", DERIVED(lambda experiment: experiment.cluster), seed=EXPERIMENT.seed),
