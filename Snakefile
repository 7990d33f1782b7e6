"""Self-supervised speaker verification: CA-DINO, then rounds of extract, cluster, train (DLG-LC), then scores and a report.

- snakemake --cores 16  # config.yaml: the paper's VoxCeleb recipe
- snakemake --cores 2 --configfile demo/config.yaml  # an overlay on it
- snakemake --profile slurm  # on a cluster
"""

import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version

min_version("9.0")
sys.path.insert(0, workflow.basedir)

from selfsv.errors import SettingsError, printable
from selfsv.settings.experiment import overlaid, resolve
from selfsv.settings.reading import check_file


configfile: os.path.join(workflow.basedir, "config.yaml")


config = overlaid(config, workflow.config_settings.overwrite_config)

try:
    if workflow.is_main_process:
        for file in workflow.config_settings.configfiles:
            check_file(Path(file))
    EXPERIMENT = resolve(config)
except SettingsError as error:
    raise WorkflowError(str(error)) from None


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/training.smk"
include: "workflow/rules/pretrain.smk"
include: "workflow/rules/iterate.smk"
include: "workflow/rules/tune.smk"
include: "workflow/rules/score.smk"
include: "workflow/rules/report.smk"


if AUDIO_VISUAL:

    include: "workflow/rules/faces.smk"


localrules:
    all,
    data,
    pretrained,
    trained,
    check_corpus,
    check_trials,
    manifest,
    adopt,
    baseline,
    quality,
    metrics,
    report,
    record,


rule all:
    default_target: True
    input:
        rules.trained.input,
        expand(f"{RESULTS}/checks/trials-{{trials}}.json", trials=EXPERIMENT.trials),
        f"{RESULTS}/settings.json",
        f"{RESULTS}/report.html",
        f"{RESULTS}/metrics.parquet" if EXPERIMENT.trials else [],


onsuccess:
    print(printable(summary(), keep="\n"), flush=True)


onerror:
    print(f"The run stopped. Each job's log lies in {RESULTS}/logs; the failed one is named above.", file=sys.stderr, flush=True)
