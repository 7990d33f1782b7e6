"""What is tuned further after the rounds: with a large margin on the last pseudo labels, or on the labels of a few utterances.

`finetune` is the one training that reads speaker labels. Its systems are scored beside the others, and no other training depends on it."""


use rule training as large_margin with:
    input:
        **FILES.training_data("<train>"),
        **FILES.of_last_round,
    output:
        **FILES.of_training("<results>/large_margin"),
    pathvars:
        job="large_margin",
    params:
        **script("large_margin", jobs.TuneJob.with_large_margin(EXPERIMENT)),


use rule training as finetune with:
    input:
        **FILES.training_data(EXPERIMENT.finetune.corpus),
        start=lambda wildcards: [] if wildcards.start == "random" else f"<results>/{wildcards.start}/model.pt",
        speakers=f"<results>/data/{EXPERIMENT.finetune.corpus}/speakers.parquet",
    output:
        **FILES.of_training("<results>/finetuned_{start}_{percent}"),
    pathvars:
        job="finetune-{start}-{percent}",
    params:
        **script("finetune", lambda wildcards: jobs.finetune_job(EXPERIMENT, wildcards.start), percent="{percent}"),
