"""What is tuned further after the rounds: with a large margin on the last pseudo labels, or on the labels of a few utterances.

`finetune` is the one training that is given speakers. It makes systems that are scored beside the others; nothing of CA-DINO,
of DLG-LC or of the large-margin tuning depends on it.
"""

from selfsv.settings.jobs import CompleteTuneJob, TuneJob


use rule training as large_margin with:
    input:
        **training_data(TRAIN),
        code=code("large_margin"),
        start=f"results/{{experiment}}/{ROUNDS[-1]}/model.pt",
        embeddings=f"results/{{experiment}}/{ROUNDS[-1]}/embeddings/{TRAIN}.parquet",
        labels=f"results/{{experiment}}/{ROUNDS[-1]}/pseudo_labels.parquet",
    output:
        model="results/{experiment}/large_margin/model.pt",
        history="results/{experiment}/large_margin/history.parquet",
    log:
        "results/{experiment}/logs/large_margin.log",
    params:
        script="large_margin",
        settings=TuneJob.with_large_margin(EXPERIMENT).to_json(),


use rule training as finetune with:
    input:
        **training_data(EXPERIMENT.finetune.corpus),
        code=code("finetune"),
        start=start_of_finetuning,
        speakers=f"results/{{experiment}}/data/{EXPERIMENT.finetune.corpus}/speakers.parquet",
    output:
        model="results/{experiment}/finetuned_{start}_{percent}/model.pt",
        history="results/{experiment}/finetuned_{start}_{percent}/history.parquet",
    log:
        "results/{experiment}/logs/finetune-{start}-{percent}.log",
    params:
        script="finetune",
        settings=lambda wildcards: (CompleteTuneJob if wildcards.start == "random" else TuneJob).on_labels(EXPERIMENT).to_json(),
        options=lambda wildcards: ["--percent", wildcards.percent],
