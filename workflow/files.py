"""The files of an experiment, as the rules name them: `<results>` and `<train>` are Snakemake's pathvars, set in common.smk."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snakemake.exceptions import WorkflowError
from snakemake.io import expand

from selfsv.errors import printable
from selfsv.scoring.systems import LARGE_MARGIN, iteration
from selfsv.settings.data import Corpus
from selfsv.settings.experiment import Experiment
from selfsv.settings.jobs import MetricJob, PackJob
from selfsv.settings.pretrain import OBJECTIVES
from workflow.adaptive import Derived
from workflow.stages import WAITED_FOR
from workflow.systems import Systems


@dataclass(frozen=True)
class Files:
    """Lists of files, and functions of a job's wildcards that give them or say where they are."""

    experiment: Experiment
    settings: Derived

    @property
    def derived(self) -> dict[str, Any]:
        """What settings of a job are derived from, where any are: an input that is only waited for."""
        return {WAITED_FOR: self.settings.file} if self.settings.adaptive else {}

    @property
    def template(self) -> str:
        """Of the report. Relative, as absolute inputs differ from machine to machine."""
        return os.path.relpath(Path(__file__).with_name("report") / "report.html.j2")

    def packed(self, pattern: str, corpus: str = "{corpus}") -> list[str]:
        """`pattern` for all shards of a corpus."""
        return expand(pattern, corpus=corpus, shard=range(self.experiment.pack.shards), allow_missing=True)

    def of_systems(self, pattern: str, systems: list[str], **values: list[str]) -> list[str]:
        """`pattern` for every system, and every trial list where it names one."""
        return expand(pattern, system=systems, trials=self.experiment.trials, **values)

    def of_test_corpus(self, pattern: str) -> Callable[[Any], str]:
        """`pattern` for the corpus that a trial list's utterances belong to."""
        return lambda wildcards: pattern.format(corpus=self.experiment.trials[wildcards.trials].corpus, **wildcards)

    def packed_corpus(self, corpus: str) -> dict[str, Any]:
        """The inputs of what reads a corpus's audio."""
        audio = self.packed("<results>/data/{corpus}/audio-{shard}.pt", corpus)
        return {"manifest": f"<results>/data/{corpus}/manifest.parquet", "audio": audio}

    def packed_faces(self, corpus: str) -> dict[str, Any]:
        """The inputs of what reads a corpus's faces."""
        images = self.packed("<results>/data/{corpus}/faces-{shard}.pt", corpus)
        return {"faces": f"<results>/data/{corpus}/faces.parquet", "images": images}

    @property
    def face_shards(self) -> dict[str, list[str]]:
        """What the stage `faces` makes of a corpus, by shard."""
        files = {"images": "faces-{shard}.pt", "faces": "faces-{shard}.parquet", "manifests": "face_manifest-{shard}.parquet"}
        return {name: self.packed("<results>/data/{corpus}/" + file) for name, file in files.items()}

    @property
    def to_cluster(self) -> dict[str, Any]:
        """The inputs of what makes a system's clusters."""
        return {**self.derived, "embeddings": "<results>/{system}/embeddings/<train>.parquet"}

    def clustered(self, system: str) -> dict[str, Any]:
        """The inputs of what reads a system's clusters and the embeddings that they are made of."""
        files = {"embeddings": "embeddings/<train>.parquet", "pseudo_labels": "pseudo_labels.parquet"}
        return {**self.derived, **{name: f"<results>/{system}/{file}" for name, file in files.items()}}

    @property
    def cohort(self) -> dict[str, Any]:
        """The inputs of what compares embeddings with those of the training corpus."""
        clustered = self.clustered("{system}")
        return {"train_embeddings": clustered.pop("embeddings"), **clustered}

    def training_data(self, corpus: str) -> dict[str, Any]:
        """The inputs of every training."""
        return {**self.derived, **self.packed_corpus(corpus), "noise": "<results>/data/noise.pt", "rirs": "<results>/data/rirs.pt"}

    def of_training(self, folder: str, *tables: str) -> dict[str, str]:
        """The outputs of every training, and further tables."""
        names = ("history", *tables)
        return {"model": f"{folder}/model.pt", **{name: f"{folder}/{name}.parquet" for name in names}}

    def labels_of_round_before(self, wildcards: Any) -> str:
        """The pseudo labels that a round is trained on."""
        return f"<results>/iter_{int(wildcards.i) - 1}/pseudo_labels.parquet"

    @property
    def objective(self) -> str | None:
        """The module of stage I's objective, where it has one."""
        return OBJECTIVES.get(self.experiment.pretrain.method)

    @property
    def kept_objective(self) -> str | None:
        """The same, where the rounds train it beside."""
        return self.objective if self.experiment.train.objective_weight else None

    def start_of_round(self, wildcards: Any) -> dict[str, str]:
        """The model and embeddings that a round starts from; none for random weights."""
        number = int(wildcards.i)
        origins = {"previous": number - 1, "stage_one": 0}
        origin = origins.get(self.experiment.train_of(number).start)
        if origin is None:
            return {}
        return {"start": f"<results>/iter_{origin}/model.pt", "embeddings": f"<results>/iter_{origin}/embeddings/<train>.parquet"}

    @property
    def of_last_round(self) -> dict[str, str]:
        """The model, embeddings and labels that tuning with a large margin starts from."""
        folder = f"<results>/iter_{self.experiment.rounds}"
        return {
            "start": f"{folder}/model.pt",
            "embeddings": f"{folder}/embeddings/<train>.parquet",
            "labels": f"{folder}/pseudo_labels.parquet",
        }

    def labels_trained_on(self, wildcards: Any) -> str | list[str]:
        """The pseudo labels that a system was trained on; none of stage I and of baselines."""
        last = {LARGE_MARGIN: f"iter_{self.experiment.rounds}"}
        index = iteration(wildcards.system)
        before = f"iter_{index - 1}" if index else last.get(wildcards.system)
        return f"<results>/{before}/pseudo_labels.parquet" if before else []

    def gate(self, wildcards: Any) -> str | list[str]:
        """The gate of a round; no other system has one."""
        return f"<results>/{wildcards.system}/gate.parquet" if iteration(wildcards.system) else []

    def listing(self, wildcards: Any) -> Any:
        """The user's listing, where the corpus is one. The workflow does not look at the folders of the other layouts."""
        corpus = self.experiment.corpora[wildcards.corpus]
        return corpus.path if corpus.layout == "listing" else []

    def corpus_without_videos(self, wildcards: Any) -> Corpus:
        """The settings of a corpus but for its videos, its table of speakers, and how it is cut: these must not have it listed anew."""
        return self.experiment.corpora[wildcards.corpus].model_copy(update={"video": None, "speakers_table": None, "cut": None})

    def pack_job(self, wildcards: Any) -> PackJob:
        """The settings of packing a corpus."""
        return PackJob.of(self.experiment, wildcards.corpus)

    def counted(self, corpus: str) -> str:
        """The table that names the utterances of a corpus first: its listing, or the manifest where recordings are cut."""
        return f"<results>/data/{corpus}/{'manifest' if self.experiment.corpora[corpus].cut else 'listing'}.parquet"

    @property
    def checked(self) -> dict[str, Any]:
        """The inputs of the check of the training corpus."""
        return {**self.derived, "listing": self.counted(self.experiment.train_corpus)}

    def counted_for_trials(self, wildcards: Any) -> str:
        """The same for the corpus of a trial list."""
        return self.counted(self.experiment.trials[wildcards.trials].corpus)

    def corpus_with_videos(self, wildcards: Any) -> Corpus:
        """The settings of a corpus but for its table of speakers, and copies and cuts, which have no videos."""
        return self.experiment.corpora[wildcards.corpus].model_copy(update={"speakers_table": None, "speeds": (), "cut": None})

    def statistics_to_whiten(self, wildcards: Any) -> str | list[str]:
        """The training corpus's fbank statistics, for the baseline that is fitted to them."""
        return "<results>/baseline_fbank/embeddings/<train>.parquet" if wildcards.kind == "whitened" else []

    def of_tested_corpora(self, pattern: str) -> list[str]:
        """`pattern` for each corpus that trials draw on."""
        return expand(pattern, corpus=list(dict.fromkeys(trials.corpus for trials in self.experiment.trials.values())))

    def known_of_trials(self) -> list[Any]:
        """The user's tables of the speakers of these corpora, and what the title of stage I follows from."""
        return [*MetricJob.of(self.experiment).speakers_tables.values(), *self.derived.values()]

    def reported(self, systems: Systems) -> list[Any]:
        """The tables that the report reads, but for the error rates."""
        table, of_corpora = "<results>/{system}/{table}.parquet", ["manifest", "left_out", "speakers"]
        return [
            *expand("<results>/data/{corpus}/{table}.parquet", corpus=self.experiment.corpora, table=of_corpora),
            *self.of_systems(table, systems.described, table=["pseudo_labels", "cluster_quality"]),
            *self.of_systems(table, systems.diagnosed, table=["diagnosis"]),
            *self.of_systems(table, systems.trained, table=["history"]),
            *self.of_systems(table, systems.rounds[1:], table=["gate", "losses"]),
            *self.of_systems(table, systems.compared, table=["modality_quality"]),
            *expand("<results>/data/<train>/{table}.parquet", table=["faces", "face_manifest"] if systems.joint else []),
            *self.derived.values(),
        ]

    def trials(self, wildcards: Any) -> str:
        """The user's trial list.

        Raises:
            WorkflowError: it does not exist; the message names the config key.
        """
        path = self.experiment.trials[wildcards.trials].path
        if not Path(path).exists():
            key = f"config key 'trials.{wildcards.trials}.path'"
            raise WorkflowError(f"{key}: there is no file '{printable(str(path))}' (relative to {Path.cwd()})")
        return str(path)
