"""From trees of audio, which are no inputs, to packed corpora and banks. After adding or removing files: `snakemake … --forcerun listing`."""


use rule stage as listing with:
    input:
        FILES.listing,
    output:
        listing="<results>/data/{corpus}/listing.parquet",
        speakers="<results>/data/{corpus}/speakers.parquet",
        left_out="<results>/data/{corpus}/left_out.parquet",
    pathvars:
        job="listing-{corpus}",
    priority: 100  # like the checks: what is wrong with a corpus is said before it is packed
    params:
        **script("listing", FILES.corpus_without_videos, shards=EXPERIMENT.pack.shards),


# Nothing depends on the checks, so that other settings rerun no more than these. The listing's priority lets them fail before packing.
use rule listing as check_corpus with:
    input:
        **FILES.checked,
    output:
        "<results>/checks/corpus.json",
    pathvars:
        job="check_corpus",
    localrule: True
    params:
        **script("check_corpus", DERIVED(jobs.CorpusCheck.of)),
        runtime=JOBS.options("processes"),


use rule listing as check_trials with:
    input:
        trials=FILES.trials,
        listing=FILES.counted_for_trials,
    output:
        "<results>/checks/trials-{trials}.json",
    pathvars:
        job="check_trials-{trials}",
    localrule: True
    params:
        **script("check_trials", name="{trials}"),


use rule parallel_stage as pack with:
    input:
        listing="<results>/data/{corpus}/listing.parquet",
    output:
        audio="<results>/data/{corpus}/audio-{shard}.pt",
        manifest="<results>/data/{corpus}/manifest-{shard}.parquet",
    pathvars:
        job="pack-{corpus}-{shard}",
    priority: 50  # of all corpora before any training: the checks of a corpus that is cut need its manifest
    params:
        **script("pack", FILES.pack_job, shard="{shard}"),


use rule stage as manifest with:
    input:
        shards=FILES.packed("<results>/data/{corpus}/manifest-{shard}.parquet"),
    output:
        manifest="<results>/data/{corpus}/manifest.parquet",
    pathvars:
        job="manifest-{corpus}",
    priority: 50
    localrule: True
    params:
        **script("manifest", EXPERIMENT.rejection),


use rule parallel_stage as noise with:
    input:
        **({} if EXPERIMENT.noise.path else FILES.packed_corpus("<train>")),  # without a MUSAN tree, for the bank's babble
    output:
        noise="<results>/data/noise.pt",
    pathvars:
        job="noise",
    params:
        **script("noise", EXPERIMENT.noise, seed=EXPERIMENT.seed),


use rule parallel_stage as rirs with:
    output:
        rirs="<results>/data/rirs.pt",
    pathvars:
        job="rirs",
    params:
        **script("rirs", EXPERIMENT.rirs, seed=EXPERIMENT.seed),
