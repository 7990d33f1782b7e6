"""What an audio-visual experiment has more: faces of the training corpus, and rounds on voices and faces (paper IV-C).

Included only where `modality: audio_visual` asks for it. Tests are on audio alone, so only the training corpus needs videos.
"""

from selfsv.settings.jobs import TrainAvJob


# Both ways lead to the same files; in an audio-visual experiment this is the one.
ruleorder: train_av > train
ruleorder: extract_av > extract


rule found:
    input:
        f"{RESULTS}/data/{TRAIN}/faces.parquet",


rule videos:
    input:
        code=code("videos"),
        listing="results/{experiment}/data/{corpus}/listing.parquet",
        user_listing=listing_file,
    output:
        "results/{experiment}/data/{corpus}/videos.parquet",
    log:
        "results/{experiment}/logs/videos-{corpus}.log",
    conda:
        "../../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=240,
    params:
        settings=lambda wildcards: EXPERIMENT.corpora[wildcards.corpus].to_json(),
    shell:
        "python -m pipeline.videos --settings {params.settings:q} --listing {input.listing:q} --videos {output:q} 2> {log:q}"


rule faces:
    input:
        code=code("faces"),
        videos="results/{experiment}/data/{corpus}/videos.parquet",
    output:
        images="results/{experiment}/data/{corpus}/faces-{shard}.pt",
        faces="results/{experiment}/data/{corpus}/faces-{shard}.parquet",
        manifest="results/{experiment}/data/{corpus}/face_manifest-{shard}.parquet",
    log:
        "results/{experiment}/logs/faces-{corpus}-{shard}.log",
    priority: 10  # the longest way to the first training leads through here
    conda:
        "../../envs/faces.yaml"
    threads: RUNTIME.threads
    resources:
        mem_mb=16000,
        runtime=720,
        gpu=min(GPUS, 1),
        device=RUNTIME.device,
    params:
        settings=EXPERIMENT.faces.detection.to_json(),
    shell:
        "python -m pipeline.faces --settings {params.settings:q} --videos {input.videos:q} --shard {wildcards.shard}"
        " --images {output.images:q} --faces {output.faces:q} --manifest {output.manifest:q}"
        " --device {resources.device} --threads {threads} 2> {log:q}"


rule face_manifest:
    input:
        code=code("face_manifest"),
        images=packed("results/{experiment}/data/{corpus}/faces-{shard}.pt"),
        faces=packed("results/{experiment}/data/{corpus}/faces-{shard}.parquet"),
        manifests=packed("results/{experiment}/data/{corpus}/face_manifest-{shard}.parquet"),
    output:
        table="results/{experiment}/data/{corpus}/faces.parquet",
        manifest="results/{experiment}/data/{corpus}/face_manifest.parquet",
    log:
        "results/{experiment}/logs/face_manifest-{corpus}.log",
    conda:
        "../../envs/faces.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=120,
    params:
        most=EXPERIMENT.faces.max_without_face,
    shell:
        "python -m pipeline.face_manifest --max-without-face {params.most} --faces {input.faces:q} --images {input.images:q}"
        " --manifests {input.manifests:q} --table {output.table:q} --manifest {output.manifest:q} 2> {log:q}"


use rule training as train_av with:
    input:
        **training_data(TRAIN),
        code=code("train_av"),
        labels=previous_labels,
        faces=f"results/{{experiment}}/data/{TRAIN}/faces.parquet",
        images=packed("results/{experiment}/data/{corpus}/faces-{shard}.pt", TRAIN),
    output:
        model="results/{experiment}/iter_{i}/model.pt",
        face_model="results/{experiment}/iter_{i}/face_model.pt",
        history="results/{experiment}/iter_{i}/history.parquet",
        gate="results/{experiment}/iter_{i}/gate.parquet",
        losses="results/{experiment}/iter_{i}/losses.parquet",
    log:
        "results/{experiment}/logs/train_av-{i}.log",
    conda:
        "../../envs/faces.yaml"
    params:
        script="train_av",
        settings=TrainAvJob.of(EXPERIMENT).to_json(),
        options=lambda wildcards: ["--iteration", wildcards.i],


rule extract_av:
    input:
        code=code("extract_av"),
        model="results/{experiment}/iter_{i}/model.pt",
        face_model="results/{experiment}/iter_{i}/face_model.pt",
        manifest=f"results/{{experiment}}/data/{TRAIN}/manifest.parquet",
        audio=packed("results/{experiment}/data/{corpus}/audio-{shard}.pt", TRAIN),
        faces=f"results/{{experiment}}/data/{TRAIN}/faces.parquet",
        images=packed("results/{experiment}/data/{corpus}/faces-{shard}.pt", TRAIN),
    output:
        f"results/{{experiment}}/iter_{{i}}/embeddings/{TRAIN}.parquet",
    log:
        "results/{experiment}/logs/extract_av-{i}.log",
    conda:
        "../../envs/faces.yaml"
    threads: RUNTIME.threads
    resources:
        mem_mb=32000,
        runtime=720,
        gpu=min(GPUS, 1),
        device=RUNTIME.device,
        precision=RUNTIME.precision,
    shell:
        "python -m pipeline.extract_av --model {input.model:q} --face-model {input.face_model:q} --manifest {input.manifest:q}"
        " --audio {input.audio:q} --faces {input.faces:q} --images {input.images:q} --output {output:q}"
        " --device {resources.device} --threads {threads} --precision {resources.precision} 2> {log:q}"


rule modalities:
    input:
        code=code("modalities"),
        embeddings=f"results/{{experiment}}/iter_{{i}}/embeddings/{TRAIN}.parquet",
        pseudo_labels="results/{experiment}/iter_{i}/pseudo_labels.parquet",
        speakers=f"results/{{experiment}}/data/{TRAIN}/speakers.parquet",
    output:
        "results/{experiment}/iter_{i}/modality_quality.parquet",
    log:
        "results/{experiment}/logs/modalities-{i}.log",
    conda:
        "../../envs/train.yaml"
    threads: RUNTIME.threads
    resources:
        mem_mb=32000,
        runtime=480,
    params:
        settings=EXPERIMENT.cluster.to_json(),
        seed=EXPERIMENT.seed,
    shell:
        "python -m pipeline.modalities --settings {params.settings:q} --seed {params.seed} --embeddings {input.embeddings:q}"
        " --pseudo-labels {input.pseudo_labels:q} --speakers {input.speakers:q} --output {output:q} --threads {threads} 2> {log:q}"
