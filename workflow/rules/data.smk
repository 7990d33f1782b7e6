"""From the user's trees of audio to packed corpora and augmentation banks.

The trees themselves are no inputs: enumerating a million files is the work of the stage `listing`, not of every start of
the workflow. After adding or removing files, have a corpus listed again with `snakemake … --forcerun listing`.
"""

from selfsv.settings.jobs import CorpusCheck, PackJob


rule data:
    input:
        expand(f"{RESULTS}/data/{{corpus}}/manifest.parquet", corpus=EXPERIMENT.corpora),
        expand(f"{RESULTS}/data/{{corpus}}/speakers.parquet", corpus=EXPERIMENT.corpora),
        f"{RESULTS}/data/noise.pt",
        f"{RESULTS}/data/rirs.pt",


rule listing:
    input:
        code=code("listing"),
        listing=listing_file,
    output:
        listing="results/{experiment}/data/{corpus}/listing.parquet",
        speakers="results/{experiment}/data/{corpus}/speakers.parquet",
        left_out="results/{experiment}/data/{corpus}/left_out.parquet",
    log:
        "results/{experiment}/logs/listing-{corpus}.log",
    priority: 100  # like the checks: what is wrong with a corpus is said before it is packed
    conda:
        "../../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=240,
    params:
        settings=listing_settings,
        shards=EXPERIMENT.pack.shards,
    shell:
        "python -m pipeline.listing --settings {params.settings:q} --shards {params.shards}"
        " --listing {output.listing:q} --speakers {output.speakers:q} --left-out {output.left_out:q} 2> {log:q}"


# Nothing depends on the checks: one that is done again for other settings must not rerun what these leave alone. Their
# priority has them done before what their corpora are needed for, and when one fails no other job is started.
rule check_corpus:
    input:
        code=code("check_corpus"),
        listing=f"results/{{experiment}}/data/{TRAIN}/listing.parquet",
    output:
        "results/{experiment}/checks/corpus.json",
    log:
        "results/{experiment}/logs/check_corpus.log",
    priority: 100
    conda:
        "../../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=30,
        processes=PROCESSES,
    params:
        settings=CorpusCheck.of(EXPERIMENT).to_json(),
    shell:
        "python -m pipeline.check_corpus --settings {params.settings:q} --listing {input.listing:q} --output {output:q}"
        " --processes {resources.processes} 2> >(exec tee {log:q} >&2)"


rule check_trials:
    input:
        code=code("check_trials"),
        trials=trial_file,
        listing=lambda wildcards: f"{RESULTS}/data/{test_corpus(wildcards)}/listing.parquet",
    output:
        "results/{experiment}/checks/trials-{trials}.json",
    log:
        "results/{experiment}/logs/check_trials-{trials}.log",
    priority: 100
    conda:
        "../../envs/score.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=30,
    shell:
        "python -m pipeline.check_trials --name {wildcards.trials:q} --trials {input.trials:q} --listing {input.listing:q}"
        " --output {output:q} 2> >(exec tee {log:q} >&2)"


rule pack:
    input:
        code=code("pack"),
        listing="results/{experiment}/data/{corpus}/listing.parquet",
    output:
        audio="results/{experiment}/data/{corpus}/audio-{shard}.pt",
        manifest="results/{experiment}/data/{corpus}/manifest-{shard}.parquet",
    log:
        "results/{experiment}/logs/pack-{corpus}-{shard}.log",
    conda:
        "../../envs/data.yaml"
    threads: 2
    resources:
        mem_mb=16000,
        runtime=240,
    params:
        settings=PackJob.of(EXPERIMENT).to_json(),
    shell:
        "python -m pipeline.pack --settings {params.settings:q} --listing {input.listing:q} --shard {wildcards.shard}"
        " --audio {output.audio:q} --manifest {output.manifest:q} --threads {threads} 2> {log:q}"


rule manifest:
    input:
        code=code("manifest"),
        shards=packed("results/{experiment}/data/{corpus}/manifest-{shard}.parquet"),
    output:
        "results/{experiment}/data/{corpus}/manifest.parquet",
    log:
        "results/{experiment}/logs/manifest-{corpus}.log",
    conda:
        "../../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=30,
    params:
        settings=EXPERIMENT.rejection.to_json(),
    shell:
        "python -m pipeline.manifest --settings {params.settings:q} --shards {input.shards:q} --manifest {output:q} 2> {log:q}"


rule noise:
    input:
        code=code("noise"),
        # Without a MUSAN tree the bank's babble is made from the training corpus.
        manifest=[] if EXPERIMENT.noise.path else f"results/{{experiment}}/data/{TRAIN}/manifest.parquet",
        audio=[] if EXPERIMENT.noise.path else packed("results/{experiment}/data/{corpus}/audio-{shard}.pt", TRAIN),
    output:
        "results/{experiment}/data/noise.pt",
    log:
        "results/{experiment}/logs/noise.log",
    conda:
        "../../envs/data.yaml"
    threads: 2
    resources:
        mem_mb=16000,
        runtime=120,
    params:
        settings=EXPERIMENT.noise.to_json(),
        seed=EXPERIMENT.seed,
        speech=lambda wildcards, input: ["--manifest", input.manifest, "--audio", *input.audio] if input.audio else [],
    shell:
        "python -m pipeline.noise --settings {params.settings:q} --seed {params.seed} {params.speech:q} --noise {output:q} --threads {threads} 2> {log:q}"


rule rirs:
    input:
        code=code("rirs"),
    output:
        "results/{experiment}/data/rirs.pt",
    log:
        "results/{experiment}/logs/rirs.log",
    conda:
        "../../envs/data.yaml"
    threads: 2
    resources:
        mem_mb=8000,
        runtime=120,
    params:
        settings=EXPERIMENT.rirs.to_json(),
        seed=EXPERIMENT.seed,
    shell:
        "python -m pipeline.rirs --settings {params.settings:q} --seed {params.seed} --threads {threads} --rirs {output:q} 2> {log:q}"
