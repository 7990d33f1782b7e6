"""A synthetic experiment: every file that the report reads, in the shapes that a real run leaves."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from selfsv.artifacts import write_table
from selfsv.report.collect import Results
from selfsv.scoring.evaluation import Tables
from selfsv.scoring.scored_lists import Known, read_scored_list
from selfsv.scoring.systems import LARGE_MARGIN, finetuned, systems
from selfsv.settings.experiment import Experiment, resolve
from selfsv.settings.scoring import MetricSettings

UTTERANCES, CLUSTERS, SPEAKERS, EPOCHS = 3000, 60, 38, 24
REPOSITORY = Path(__file__).parents[2]
GATE, PREVIOUS = ("gate_reliable", "gate_corrected", "gate_dropped"), ("previous_ari", "previous_nmi")
SPEAKER_NAME = "<script>alert('talker')<script>"
REASON = "cannot be decoded: <script>alert('reason')</script><img src=x onerror=alert()>"
LEFT_OUT_NOTHING = pd.DataFrame({"ending": pd.Series([], dtype=str), "files": pd.Series([], dtype="int64")})


def settings(**changes: object) -> Experiment:
    """The settings of the synthetic experiment."""
    config = {
        "experiment": "synthetic",
        "rounds": 3,
        "corpora": {name: {"layout": "voxceleb", "path": f"/data/{name}"} for name in ("train", "test")},
        "trials": {"demo": {"corpus": "test", "path": "demo.txt"}, "vox1_o_clean": {"corpus": "test", "path": "vox.txt"}},
        "pretrain": {"head": {"prototypes": 4096}, "batch_size": 64},
        **changes,
    }
    return resolve(config)


def manifest(utterances: int, rejected: int) -> pd.DataFrame:
    generator = np.random.default_rng(1)
    names = [f"{SPEAKER_NAME}/session{index % 90}/{index:05d}" for index in range(utterances)]
    reasons = np.array(["too short: 0.2 s", "silent", REASON])[np.arange(utterances) % 3]
    bad = np.arange(utterances) < rejected
    return pd.DataFrame(
        {
            "utterance": names,
            "path": [f"{name}.wav" for name in names],
            "session": [name.split("/")[1] for name in names],
            "num_samples": generator.integers(4 * 16000, 9 * 16000, utterances),
            "shard": 0,
            "offset": 0,
            "status": np.where(bad, "rejected", "ok"),
            "reason": np.where(bad, reasons, ""),
        }
    )


def history(index: int, warning: str) -> pd.DataFrame:
    epoch = np.arange(EPOCHS)
    falling = np.exp(-epoch / 8)
    common = {
        "epoch": epoch,
        "learning_rate": 0.1 * falling,
        "utterances_per_second": 800 + 20 * np.sin(epoch),
        "data_wait_seconds": 0.3,
        "seconds": 9.0,
        "gradient_norm": 2 + falling,
        "gradient_clipped": 0.25,
        "warning": np.where(epoch > EPOCHS - 4, warning, ""),
    }
    if index:
        shares = gate().loc[:, ["tau1", "reliable", "corrected", "dropped"]]
        fitting = {"loss": 12 * falling + 1, "loss_clean": 10 * falling + 1, "accuracy": 0.9 - 0.8 * falling, "margin": 0.2}
        return pd.DataFrame({**common, **fitting}).join(shares)
    entropies = {"teacher_entropy": 6 * falling + 1.5, "student_entropy": 5 * falling + 3}
    parts = {"loss": 7 + 1.3 * falling, "loss_dino": 6.8 + 1.2 * falling, "loss_cosine": 0.2 + 0.1 * falling}
    return pd.DataFrame({**common, **parts, **entropies})


def gate() -> pd.DataFrame:
    epoch = np.arange(EPOCHS)
    acting = epoch >= 10
    reliable = np.where(acting, 0.75 + 0.005 * epoch, 1.0)
    corrected = np.where(acting, 0.12, 0.0)
    return pd.DataFrame(
        {
            "modality": "audio",
            "epoch": epoch,
            "tau1": np.where(acting, 3 - 0.05 * epoch, np.nan),
            "weight_1": 0.8,
            "mean_1": -1.2,
            "variance_1": 0.5,
            "weight_2": 0.2,
            "mean_2": 1.6,
            "variance_2": 0.2,
            "reliable": reliable,
            "corrected": corrected,
            "dropped": 1 - reliable - corrected,
            "status": np.where(epoch == 12, "kept: a component vanished", np.where(acting, "fitted", "no gate")),
        }
    )


def losses() -> pd.DataFrame:
    generator = np.random.default_rng(2)
    upper = generator.random(UTTERANCES) < 0.2
    values = np.exp(np.where(upper, generator.normal(1.6, 0.45, UTTERANCES), generator.normal(-1.2, 0.7, UTTERANCES)))
    values[:3] = 0, np.inf, np.nan  # an exact zero, an overflow and a hole must not break the histogram
    names = [str(index) for index in range(UTTERANCES)]
    return pd.DataFrame({"utterance": names, "loss_clean": values.astype(np.float32), "decision": "reliable"})


def scores(separation: float, trials: int = 1200) -> pd.DataFrame:
    generator = np.random.default_rng(3)
    target = np.arange(trials) % 3 == 0
    cosine = generator.normal(size=trials) + separation * target
    speakers = generator.integers(SPEAKERS, size=trials)
    other = np.where(target, speakers, (speakers + 1 + np.arange(trials) % (SPEAKERS - 1)) % SPEAKERS)
    names = manifest(300, 0)["utterance"].to_numpy(str)
    columns = {
        "enroll": names[speakers],
        "test": names[other + SPEAKERS],
        "target": target,
        "cosine": cosine,
        "snorm": cosine + 0.2 * target,
    }
    return pd.DataFrame(columns)


def diagnosis(index: int) -> pd.DataFrame:
    gate = {"gate_reliable": 0.8, "gate_corrected": 0.15, "gate_dropped": 0.05} if index else dict.fromkeys(GATE, np.nan)
    before = {"previous_ari": 0.4 + 0.1 * index, "previous_nmi": 0.6 + 0.1 * index} if index else dict.fromkeys(PREVIOUS, np.nan)
    counts = {"utterances": UTTERANCES, "sessions": 90, "clusters": CLUSTERS}
    trials = {"part_targets": 2000, "part_nontargets": 19876, "session_targets": 12345, "session_nontargets": 19912}
    rates = {f"{kind}_eer{norm}": 0.2 - 0.0123 * index for kind in ("part", "session") for norm in ("", "_snorm")}
    others = {"session_ami": 0.7, "session_nmi": 0.8, "session_nmi_chance": 0.25, "resampling_ari": 0.5, "silhouette": 0.1}
    row = {"system": f"iter_{index}", **counts, **trials, **rates, **others, "effective_dimensions": 9.5, **before, **gate}
    return pd.DataFrame([row])


def write_experiment(folder: Path, experiment: Experiment, warning: str = "") -> Results:
    """Fill `folder` with everything that `experiment` would have made."""
    generator = np.random.default_rng(4)
    for corpus, size, rejected in (("train", UTTERANCES, 47), ("test", 300, 2)):
        table = manifest(size, rejected)
        write_table(folder / "data" / corpus / "manifest.parquet", table)
        left_out = pd.DataFrame({"ending": [".shn", "<b>"], "files": [1200, 3]}) if corpus == "train" else LEFT_OUT_NOTHING
        write_table(folder / "data" / corpus / "left_out.parquet", left_out)
        known = pd.DataFrame({"utterance": table["utterance"], "speaker": np.arange(size) % SPEAKERS})
        write_table(folder / "data" / corpus / "speakers.parquet", known.astype({"speaker": str}))
    paths: dict[str, list[Path]] = {}
    told = finetuned(experiment.finetune.starts, experiment.finetune.percent)
    tuned = [*([LARGE_MARGIN] if experiment.large_margin.enabled else []), *told]
    for place, system in enumerate([*systems(experiment.rounds, experiment.baselines), *tuned]):
        labels = generator.choice(CLUSTERS, UTTERANCES, p=generator.dirichlet(np.full(CLUSTERS, 6))).astype(np.int32)
        write_table(folder / system / "pseudo_labels.parquet", pd.DataFrame({"label": labels}))
        quality = {"system": system, "clusters": CLUSTERS, "largest": 90, "smallest": 3, "empty": 0}
        agreement = {"nmi": 0.5 + 0.08 * place, "purity": 0.45 + 0.09 * place, "utterances_with_speaker": UTTERANCES}
        write_table(folder / system / "cluster_quality.parquet", pd.DataFrame([{**quality, **agreement}]))
        for trials in experiment.trials:
            path = folder / system / "scores" / f"{trials}.parquet"
            write_table(path, scores(1.7 + 0.25 * place))
            paths[trials] = [*paths.get(trials, []), path]
    for index in range(experiment.rounds + 1):
        system = folder / f"iter_{index}"
        write_table(system / "history.parquet", history(index, warning if index == 1 else ""))
        write_table(system / "diagnosis.parquet", diagnosis(index))
        if index:
            write_table(system / "gate.parquet", gate())
            write_table(system / "losses.parquet", losses())
    for system in tuned:
        columns = ["epoch", "learning_rate", "utterances_per_second", "data_wait_seconds", "seconds", "warning", "loss", "accuracy"]
        write_table(folder / system / "history.parquet", history(1, "")[columns])
    write_metrics(folder, paths)
    return Results(folder, experiment)


def write_metrics(folder: Path, paths: dict[str, list[Path]]) -> None:
    """What the stage `metrics` makes of score files, by trial list, with fewer draws."""
    speakers = pd.read_parquet(folder / "data" / "test" / "speakers.parquet")
    genders = pd.DataFrame({"Gender": ["f" if speaker % 3 else "m" for speaker in range(SPEAKERS)]}, map(str, range(SPEAKERS)))
    known = Known(manifest(300, 2), speakers, genders)
    tables = Tables(MetricSettings(), draws=200)
    for files in paths.values():
        tables.add(read_scored_list(files, known))
    for name, table in zip(("metrics", "comparisons", "conditions", "det_bands"), tables.frames() if paths else [], strict=bool(paths)):
        write_table(folder / f"{name}.parquet", table)


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """A complete experiment, with warnings."""
    warning = "the gate keeps nearly everything (99.95 % reliable): it selects nothing"
    return write_experiment(tmp_path_factory.mktemp("results") / "synthetic", settings(), warning)


@pytest.fixture(scope="session")
def page(results: Results) -> str:
    """The experiment's page, made by the stage's script as `report.html` in its folder."""
    output = results.folder / "report.html"
    command = [sys.executable, "-m", "pipeline.report", "--settings", results.settings.to_json()]
    command += ["--results", str(results.folder), "--output", str(output)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return output.read_text(encoding="utf-8")
