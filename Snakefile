"""Self-supervised speaker verification: CA-DINO, then rounds of extract, cluster, train (DLG-LC), then scores and a report.

- snakemake --cores 16  # config.yaml: the paper's VoxCeleb recipe
- snakemake --cores 2 --configfile demo/config.yaml  # an overlay on it
- snakemake --profile slurm  # on a cluster
"""

import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version

min_version("9.20")
REPOSITORY = Path(str(workflow.current_basedir))  # not `basedir`: another Snakefile may include this one, or use it as a module
if not REPOSITORY.is_dir():  # Snakemake's `github(...)` brings the rules, and not the Python files that they run
    raise WorkflowError("this workflow runs from a checkout: name the path of its Snakefile, or github(..., path='workflow/Snakefile')")
if workflow.modifier.path_modifier.replace_prefix("results/x") != "results/x":  # the stages' options name folders, too
    raise WorkflowError("this workflow takes no `prefix` as a module: give another `experiment` in its config, or run it with --directory")
sys.path.insert(0, str(REPOSITORY))

from selfsv.errors import SettingsError, printable
from selfsv.prepare.adaptive import experiment_with
from selfsv.settings.reading import check_file, read_file
from workflow.adaptive import Derived
from workflow.environment import image_of

try:
    # Snakemake merges files without a word on keys that stand twice in one. It documents no list of the files; this one is an
    # attribute that Snakefiles elsewhere read, too. The processes of single jobs need not check again.
    for file in workflow.configfiles if workflow.is_main_process else []:
        check_file(Path(file))
    # There is no directive `configfile`: without one, Snakemake's `config` holds what --configfile and --config say, and that alone.
    DEFAULTS = read_file(REPOSITORY / "config.yaml")
    EXPERIMENT = experiment_with(DEFAULTS, config)
    DERIVED = Derived(DEFAULTS, config, EXPERIMENT, checkpoints)
except SettingsError as error:
    raise WorkflowError(str(error)) from None
IMAGE = image_of(EXPERIMENT.runtime.container, workflow.deployment_settings.deployment_method)


container: IMAGE


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/stage.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/pretrain.smk"
include: "workflow/rules/iterate.smk"
include: "workflow/rules/tune.smk"
include: "workflow/rules/score.smk"
include: "workflow/download.smk"


if DERIVED.adaptive:

    include: "workflow/adaptive.smk"


if EXPERIMENT.modality == "audio_visual":

    include: "workflow/rules/faces.smk"


rule data:
    input:
        expand("<results>/data/{corpus}/{table}.parquet", corpus=EXPERIMENT.corpora, table=["manifest", "speakers"]),
        "<results>/data/noise.pt",
        "<results>/data/rirs.pt",


rule pretrained:
    input:
        "<results>/checks/corpus.json",
        "<results>/iter_0/model.pt",


rule trained:
    input:
        "<results>/checks/corpus.json",
        f"<results>/{SYSTEMS.rounds[-1]}/model.pt",
        f"<results>/{SYSTEMS.rounds[-1]}/pseudo_labels.parquet",


rule all:
    default_target: True
    input:
        rules.trained.input,
        expand("<results>/checks/trials-{trials}.json", trials=EXPERIMENT.trials),
        "<results>/settings.json",
        "<results>/report.html",
        "<results>/metrics.parquet" if EXPERIMENT.trials else [],


onsuccess:
    print(printable(summary(Path(RESULTS), Systems(DERIVED.known).titles, scored=bool(EXPERIMENT.trials)), keep="\n"), flush=True)


onerror:
    print(f"The run stopped. Each job's log is in {RESULTS}/logs; the failed one is named above.", file=sys.stderr, flush=True)
