"""From the user's trees of audio to packed corpora and augmentation banks. The trees are no inputs: `listing` enumerates a million files,
not every start of the workflow. After adding or removing files, list a corpus again: `snakemake … --forcerun listing`."""


use rule stage as listing with:
    input:
        FILES.listing,
    output:
        listing="<results>/data/{corpus}/listing.parquet",
        speakers="<results>/data/{corpus}/speakers.parquet",
        left_out="<results>/data/{corpus}/left_out.parquet",
    log:
        "<logs>/listing-{corpus}.log",
    priority: 100  # like the checks: what is wrong with a corpus is said before it is packed
    params:
        **script("listing", FILES.corpus_without_videos, shards=EXPERIMENT.pack.shards),


# Nothing depends on the checks, so that a check of other settings reruns nothing. Their priority lets them fail before a corpus is packed.
use rule stage as check_corpus with:
    input:
        listing="<results>/data/<train>/listing.parquet",
    output:
        "<results>/checks/corpus.json",
    log:
        "<logs>/check_corpus.log",
    priority: 100
    localrule: True
    params:
        **script("check_corpus", jobs.CorpusCheck.of(EXPERIMENT)),
        runtime=JOBS.options("processes"),


use rule stage as check_trials with:
    input:
        trials=FILES.trials,
        listing=FILES.of_test_corpus("<results>/data/{corpus}/listing.parquet"),
    output:
        "<results>/checks/trials-{trials}.json",
    log:
        "<logs>/check_trials-{trials}.log",
    priority: 100
    localrule: True
    params:
        **script("check_trials", name="{trials}"),


use rule parallel_stage as pack with:
    input:
        listing="<results>/data/{corpus}/listing.parquet",
    output:
        audio="<results>/data/{corpus}/audio-{shard}.pt",
        manifest="<results>/data/{corpus}/manifest-{shard}.parquet",
    log:
        "<logs>/pack-{corpus}-{shard}.log",
    params:
        **script("pack", jobs.PackJob.of(EXPERIMENT), shard="{shard}"),


use rule stage as manifest with:
    input:
        shards=FILES.packed("<results>/data/{corpus}/manifest-{shard}.parquet"),
    output:
        manifest="<results>/data/{corpus}/manifest.parquet",
    log:
        "<logs>/manifest-{corpus}.log",
    localrule: True
    params:
        **script("manifest", EXPERIMENT.rejection),


use rule parallel_stage as noise with:
    input:
        **({} if EXPERIMENT.noise.path else FILES.packed_corpus("<train>")),  # without a MUSAN tree, for the bank's babble
    output:
        noise="<results>/data/noise.pt",
    log:
        "<logs>/noise.log",
    params:
        **script("noise", EXPERIMENT.noise, seed=EXPERIMENT.seed),


use rule parallel_stage as rirs with:
    output:
        rirs="<results>/data/rirs.pt",
    log:
        "<logs>/rirs.log",
    params:
        **script("rirs", EXPERIMENT.rirs, seed=EXPERIMENT.seed),
