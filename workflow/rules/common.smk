"""Names that all rules share, and constraints on wildcards."""

from selfsv.settings import jobs
from workflow.console import show_jobs
from workflow.environment import prepare
from workflow.files import Files
from workflow.jobs import TRAINING_OPTIONS, Jobs
from workflow.liveness import acquire_run_lock
from workflow.stages import file_options, scripts_of
from workflow.summary import summary
from workflow.systems import Systems

prepare(REPOSITORY, IMAGE)

# Held until this process ends. The processes of single jobs belong to a run that holds it already.
ALIVE = acquire_run_lock(EXPERIMENT.experiment) if workflow.is_main_process else None

# How a run is carried out is no part of what it makes, and reruns nothing.
SETTINGS = DERIVED(lambda experiment: type(experiment)(**experiment.model_dump(exclude={"runtime"})))
RESULTS = f"results/{EXPERIMENT.experiment}"
FILES = Files(EXPERIMENT, DERIVED)
JOBS = Jobs(EXPERIMENT.runtime, submitted=workflow.remote_exec)
script = scripts_of(RESULTS)
SYSTEMS = Systems(EXPERIMENT)
show_jobs(DERIVED, workflow)


pathvars:
    results=RESULTS,
    logs=f"{RESULTS}/logs",
    train=EXPERIMENT.train_corpus,


wildcard_constraints:
    **SYSTEMS.wildcards,
