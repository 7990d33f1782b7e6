"""Error rates on the demo's voices with the paper's encoder, in six minutes of a GPU: stage I and a round as long, without Snakemake.

    benchmarks/gpu_accuracy.sh OUT            # one GPU
    benchmarks/gpu_accuracy.sh OUT --small    # to see on a CPU whether every stage runs; its error rates mean nothing

The stages' own scripts run in the order in which the workflow would run them, with the settings of gpu_accuracy.yaml on top of the demo's.
OUT/gpu_accuracy.json holds the equal error rates by cosine and with s-norm after each stage, with the card, the versions and the date.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also where the project is not installed

from benchmarks.bounded import Session, Stage, end_with_stages, refuse_without_gpu
from benchmarks.measuring import versions
from benchmarks.speed_trainings import REPOSITORY, Figures, attempted
from selfsv.scoring.evaluation import measured
from selfsv.scoring.measures import measures
from selfsv.scoring.scored_lists import NORMS
from selfsv.settings.experiment import Experiment, merged, overlaid, resolve
from selfsv.settings.jobs import PackJob, PretrainJob, TrainJob
from selfsv.settings.reading import read_file

SECONDS = 335.0  # of all stages together; the rest of six minutes goes into starting
SLOWER = 8.0  # a rehearsal may take so many times as long
SMALL: dict[str, Any] = {
    "runtime": {"precision": "auto", "compile": False},
    "encoder": {"channels": 32, "mfa_channels": 48, "bottleneck": 16},
    "pretrain": {
        "epochs": 2,
        "average_last": 1,
        "head": {"prototypes": 128},
        "optimiser": {"warmup_epochs": 1},
        "cluster_aware": {"start_epoch": 1},
        "dino": {"teacher_temperature_epochs": 1},
    },
    "train": {"epochs": 2, "aam": {"margin_start_epoch": 0, "margin_full_epoch": 0}, "gate": {"gate_start_epoch": 1}},
}


def main() -> None:
    """Run all stages, print the error rates."""
    args = arguments()
    end_with_stages()
    refuse_without_gpu(available=torch.cuda.is_available(), small=args.small)
    experiment = experiment_of(small=args.small)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with tempfile.TemporaryDirectory(dir=args.into) as folder:
        session = Session("gpu_accuracy", args.out, args.seconds * (SLOWER if args.small else 1), versions(device))
        session.outcome |= {"settings": experiment.model_dump(mode="json"), "error_rates": {}}
        complete = Run(session, experiment, Path(folder), slower=SLOWER if args.small else 1.0, after=args.after).everything()
    for system, rates in session.outcome["error_rates"].items():
        print(f"{system}: {rates.get('error') or rates_line(rates)}")
    print(f"{args.out}/gpu_accuracy.json holds everything")
    sys.exit(int(not complete))


def rates_line(rates: Figures) -> str:
    """The equal error rates, for a person."""
    return f"EER {rates['eer_cosine']:.2%} by cosine, {rates['eer_snorm']:.2%} with s-norm"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="a folder for the figures")
    parser.add_argument("--small", action="store_true", help="a small encoder and few epochs, and no GPU needed")
    parser.add_argument("--into", type=Path, help="where the artifacts are written meanwhile; default: the system's folder for such things")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for all stages together")
    parser.add_argument("--after", type=Path, help="train once this file exists: the data is prepared before, beside other measurements")
    return parser.parse_args()


def experiment_of(*, small: bool) -> Experiment:
    """config.yaml with the demo's overlay and this one's, as the workflow puts them together."""
    files = [REPOSITORY / name for name in ("config.yaml", "demo/config.yaml", "benchmarks/gpu_accuracy.yaml")]
    defaults, demo, own = map(read_file, files)
    return resolve(overlaid(defaults, merged(merged(demo, own), SMALL if small else {})))


class Run:
    """The stages of one experiment.

    Args:
        folder: for the artifacts, laid out as the workflow does.
        slower: factor on the stages' time bounds.
        after: a file that training waits for; None: for nothing.
    """

    def __init__(self, session: Session, experiment: Experiment, folder: Path, *, slower: float, after: Path | None = None):
        self._session, self._experiment, self._folder, self._slower, self._after = session, experiment, folder, slower, after
        self._cores = os.cpu_count() or 1
        runtime = experiment.runtime
        extracting = ["--device", runtime.device, "--threads", str(min(runtime.threads, self._cores)), "--precision", runtime.precision]
        self._extracting = extracting
        self._training = [*extracting, "--workers", str(runtime.workers), "--compile", str(runtime.compile).lower()]
        self._training += ["--checkpoint-minutes", str(runtime.checkpoint_minutes), "--state", str(folder / "state")]

    def everything(self) -> bool:
        """All stages, as far as they succeed; whether all of them did."""
        prepared = self._data() and self._waited()
        return prepared and self._session.run(self._pretrain()) and all(self._round(i) for i in range(self._experiment.rounds + 1))

    def _waited(self) -> bool:
        while self._after is not None and not self._after.exists() and self._session.left() > 0:
            time.sleep(0.2)
        return True

    def _stage(self, name: str, seconds: float, module: str, *options: object) -> Stage:
        return Stage(name, seconds * self._slower, [sys.executable, "-m", f"pipeline.{module}", *map(str, options)])

    # Data -------------------------------------------------------------------------------------------------------------

    def _data(self) -> bool:
        """Packed corpora and banks."""
        experiment, run = self._experiment, self._session.run
        corpora, shards = experiment.corpora, range(experiment.pack.shards)
        threads = max(1, self._cores // (len(corpora) * len(shards)))
        for name in corpora:
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        listings = [self._listing(name) for name in corpora]
        packs = [self._pack(name, shard, threads) for name in corpora for shard in shards]
        manifests = [self._manifest(name) for name in corpora]
        return run(*listings) and run(*packs) and run(*manifests) and run(self._noise(), self._rirs())

    def _listing(self, corpus: str) -> Stage:
        folder, settings = self._folder / corpus, self._experiment.corpora[corpus].to_json()
        outputs = [
            word for name in ("listing", "speakers", "left_out") for word in (f"--{name.replace('_', '-')}", folder / f"{name}.parquet")
        ]
        return self._stage(f"listing-{corpus}", 20, "listing", "--settings", settings, "--shards", self._experiment.pack.shards, *outputs)

    def _pack(self, corpus: str, shard: int, threads: int) -> Stage:
        folder, settings = self._folder / corpus, PackJob.of(self._experiment, corpus).to_json()
        options = ["--settings", settings, "--listing", folder / "listing.parquet", "--shard", shard, "--threads", threads]
        outputs = ["--audio", folder / f"audio-{shard}.pt", "--manifest", folder / f"manifest-{shard}.parquet"]
        return self._stage(f"pack-{corpus}-{shard}", 30, "pack", *options, *outputs)

    def _manifest(self, corpus: str) -> Stage:
        folder, settings = self._folder / corpus, self._experiment.rejection.to_json()
        shards = [folder / f"manifest-{shard}.parquet" for shard in range(self._experiment.pack.shards)]
        output = ["--manifest", folder / "manifest.parquet"]
        return self._stage(f"manifest-{corpus}", 20, "manifest", "--settings", settings, "--shards", *shards, *output)

    def _noise(self) -> Stage:
        options = ["--settings", self._experiment.noise.to_json(), "--seed", self._experiment.seed, "--threads", self._cores]
        return self._stage("noise", 30, "noise", *options, "--noise", self._folder / "noise.pt")

    def _rirs(self) -> Stage:
        options = ["--settings", self._experiment.rirs.to_json(), "--seed", self._experiment.seed, "--threads", self._cores]
        return self._stage("rirs", 30, "rirs", *options, "--rirs", self._folder / "rirs.pt")

    def _packed(self, corpus: str) -> list[object]:
        folder = self._folder / corpus
        audio = [folder / f"audio-{shard}.pt" for shard in range(self._experiment.pack.shards)]
        return ["--manifest", folder / "manifest.parquet", "--audio", *audio]

    # Trainings, and what follows each ---------------------------------------------------------------------------------

    def _pretrain(self) -> Stage:
        return self._fitted("pretrain", 230, "pretrain", self._folder / "iter_0", PretrainJob.of(self._experiment).to_json())

    def _train(self, iteration: int) -> Stage:
        folder, settings = self._folder / f"iter_{iteration}", TrainJob.of(self._experiment).to_json()
        labels = ["--iteration", iteration, "--labels", self._folder / f"iter_{iteration - 1}" / "pseudo_labels.parquet"]
        outputs = ["--gate", folder / "gate.parquet", "--losses", folder / "losses.parquet"]
        return self._fitted(f"train-{iteration}", 140, "train", folder, settings, *labels, *outputs)

    def _fitted(self, name: str, seconds: float, module: str, folder: Path, settings: str, *options: object) -> Stage:
        banks = ["--noise", self._folder / "noise.pt", "--rirs", self._folder / "rirs.pt"]
        outputs = ["--model", folder / "model.pt", "--history", folder / "history.parquet"]
        inputs = [*self._packed(self._experiment.train_corpus), *banks]
        return self._stage(name, seconds, module, "--settings", settings, *inputs, *outputs, *options, *self._training)

    def _round(self, iteration: int) -> bool:
        """Embeddings, clusters and scores of a model, beside the training of the next one."""
        experiment, folder, system = self._experiment, self._folder / f"iter_{iteration}", f"iter_{iteration}"
        [(name, trials)] = experiment.trials.items()
        corpora = [experiment.train_corpus, trials.corpus]
        embeddings = {corpus: folder / "embeddings" / f"{corpus}.parquet" for corpus in corpora}
        labels, scores = folder / "pseudo_labels.parquet", folder / "scores" / f"{name}.parquet"

        def extracted(corpus: str) -> Stage:
            options = ["--model", folder / "model.pt", *self._packed(corpus), "--output", embeddings[corpus]]
            return self._stage(f"extract-{iteration}-{corpus}", 40, "extract", *options, *self._extracting)

        clustering = ["--settings", experiment.cluster.to_json(), "--seed", experiment.seed, "--threads", self._cores]
        clustering += ["--embeddings", embeddings[experiment.train_corpus], "--output", labels]
        scoring = ["--settings", experiment.score.to_json(), "--trials", trials.path, "--output", scores, "--pseudo-labels", labels]
        scoring += ["--manifest", self._folder / trials.corpus / "manifest.parquet"]
        scoring += ["--embeddings", embeddings[trials.corpus], "--train-embeddings", embeddings[experiment.train_corpus]]
        done = self._session.run(*map(extracted, corpora))
        done = done and self._session.run(self._stage(f"cluster-{iteration}", 30, "cluster", *clustering))
        score = self._stage(f"score-{iteration}", 30, "score", *scoring)
        beside = [self._train(iteration + 1)] if iteration < experiment.rounds else []
        done = done and self._session.run(score, *beside)
        if scores.exists():
            rates = attempted(lambda: self._rates(scores, folder / "history.parquet"))
            self._session.outcome["error_rates"][system] = rates
            self._session.save()
        return done

    def _rates(self, scores: Path, history: Path) -> Figures:
        """A model's error rates, and the figures of its training's last epoch."""
        point = self._experiment.metrics
        statistic = measures(point.p_target, point.c_miss, point.c_false_alarm)
        rows = {row["norm"]: row for row in measured(scores, statistic)}
        rates = {f"{measure}_{norm}": rows[norm][measure] for norm in NORMS for measure in ("eer", "min_dcf")}
        table = pd.read_parquet(history)
        training = {"views": int(len(table) * self._utterances()), "seconds": round(float(table["seconds"].sum()), 1)}
        return {**rates, "training": {**training, "last_epoch": table.iloc[-1].to_dict()}}

    def _utterances(self) -> int:
        manifest = pd.read_parquet(self._folder / self._experiment.train_corpus / "manifest.parquet")
        return int((manifest["status"] == "ok").sum())


if __name__ == "__main__":
    main()
