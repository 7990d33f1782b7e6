"""A synthetic audio-visual experiment: what it leaves behind beyond the files of one on audio alone."""

import io
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

from selfsv.artifacts import read_table, write_table
from selfsv.report.collect import Results
from selfsv.settings.experiment import Experiment
from tests.reporting.conftest import gate, settings, write_experiment

UTTERANCES, PEOPLE, REJECTED, FRAMES = 1500, 30, 36, 8
NAME = """"><script>alert('face')</script><img src=x onerror=alert()>"""  # would end an attribute, too
REASONS = ("no face: none in 8 frames", "missing: no video", f"damaged: {NAME}")
TRIALS = {"vox1_o_clean": {"corpus": "test", "path": "vox.txt"}}


def audio_visual_settings(**changes: object) -> Experiment:
    """The settings of the experiment: two rounds, one list."""
    return settings(**{"modality": "audio_visual", "rounds": 2, "baselines": False, "trials": TRIALS, **changes})


@cache
def portrait(person: int, number: int = 0) -> bytes:
    """A drawn face as the detector leaves them, 96 × 112: the same colours for one person, another expression per number."""
    generator = np.random.default_rng(person)
    wall, skin, hair = (tuple(generator.integers(low, high, 3).tolist()) for low, high in ((90, 220), (120, 240), (10, 120)))
    image = Image.new("RGB", (96, 112), wall)
    draw = ImageDraw.Draw(image)
    draw.ellipse((16, 4, 80, 80), fill=hair)
    draw.ellipse((20, 16, 76, 104), fill=skin)
    for x in (38, 58):
        draw.ellipse((x - 5, 48, x + 5, 54), fill="white")
        draw.ellipse((x - 2 + number % 3, 49, x + 2 + number % 3, 53), fill=hair)
    draw.line((48, 56, 46, 70, 50, 70), fill=hair)
    draw.arc((36, 72 - number % 4, 60, 90), 20, 160, fill=hair, width=2)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def utterances() -> pd.DataFrame:
    """Their names, and the person of each: more utterances of the later persons."""
    people = np.sort(np.random.default_rng(5).choice(PEOPLE, UTTERANCES, p=np.arange(2, PEOPLE + 2) / np.arange(2, PEOPLE + 2).sum()))
    names = [f"{NAME}/{person:02d}/{index:05d}" for index, person in enumerate(people)]
    return pd.DataFrame({"utterance": names, "person": people})


def face_manifest() -> pd.DataFrame:
    """A few utterances, spread over all, have no usable face."""
    names = utterances()["utterance"]
    bad = np.arange(UTTERANCES) * 7 % UTTERANCES < REJECTED
    missing = bad & (np.arange(UTTERANCES) % 3 == 1)
    detected = np.where(bad, 0, 4 + np.arange(UTTERANCES) % 5)
    return pd.DataFrame(
        {
            "utterance": names,
            "path": names + ".mp4",
            "frames": np.where(missing, 0, FRAMES),
            "detected": detected,
            "faces": np.where(bad, 0, detected - 2),
            "status": np.where(bad, "rejected", "ok"),
            "reason": np.where(bad, np.array(REASONS)[np.arange(UTTERANCES) % 3], ""),
        }
    )


def faces() -> pa.Table:
    """A row per kept face, sorted by utterance."""
    kept = utterances().join(face_manifest()["faces"])
    rows = kept.loc[kept.index.repeat(kept["faces"])]
    times = rows.groupby("utterance").cumcount()
    images = [portrait(person, time) for person, time in zip(rows["person"], times, strict=True)]
    return pa.table(
        {
            "utterance": pa.array(rows["utterance"], pa.string()),
            "time_s": pa.array(times.astype(np.float32)),
            "probability": pa.array(np.full(len(rows), 0.99, np.float32)),
            "landmarks": pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(10 * len(rows), np.float32)), 10),
            "image": pa.array(images, pa.binary()),
            "shard": pa.array(np.zeros(len(rows), np.int32)),
            "offset": pa.array(np.zeros(len(rows), np.int64)),
            "num_bytes": pa.array([len(image) for image in images], pa.int32()),
        }
    )


def write_faces(results: Results, table: pa.Table) -> None:
    """In row groups much smaller than the file."""
    pq.write_table(table, results.folder / "data" / "train" / "faces.parquet", row_group_size=200)


def write_audio_visual(folder: Path, experiment: Experiment) -> Results:
    """Fill `folder` with everything that `experiment` would have made."""
    results = write_experiment(folder, experiment)
    write_table(folder / "data" / "train" / "face_manifest.parquet", face_manifest())
    write_faces(results, faces())
    for index in range(experiment.rounds + 1):
        system, known = folder / f"iter_{index}", utterances()
        labels = known["person"].to_numpy()
        mistaken = np.random.default_rng(index).random(UTTERANCES) < 0.3 / (1 + 5 * index)
        labels = np.where(mistaken, np.random.default_rng(9).permutation(labels), labels).astype(np.int32)
        write_table(system / "pseudo_labels.parquet", pd.DataFrame({"utterance": known["utterance"], "label": labels, "similarity": 0.7}))
        if index:
            write_round(system, index)
    return results


def write_round(system: Path, index: int) -> None:
    """What both networks of a round leave behind, in place of the files of one."""
    table = gate()
    agreed = table["corrected"] * 0.6
    face = table.assign(modality="face", tau1=1.2 * table["tau1"], mean_1=-0.7, mean_2=1.9, agreed=agreed)
    write_table(system / "gate.parquet", pd.concat([table.assign(agreed=agreed), face], ignore_index=True))
    losses = read_table(system / "losses.parquet")
    second = np.where(np.arange(len(losses)) % 20, losses["loss_clean"][::-1] * 1.4, np.nan)  # every twentieth has no face
    write_table(system / "losses.parquet", losses.assign(face_loss_clean=second.astype(np.float32), face_decision="reliable"))
    history = read_table(system / "history.parquet")
    own = {"face_loss": history["loss"] * 1.2, "face_loss_clean": history["loss_clean"] * 1.3, "face_accuracy": history["accuracy"] * 0.9}
    write_table(system / "history.parquet", history.assign(**own, face_tau1=history["tau1"], agreed=agreed))
    quality = {"modality": ["audio", "face", "joint"], "clusters": 60, "utterances_with_speaker": UTTERANCES}
    nmi = {"nmi": np.array([0.71, 0.78, 0.86]) + 0.03 * index, "purity": np.array([0.62, 0.7, 0.81]) + 0.03 * index}
    write_table(system / "modality_quality.parquet", pd.DataFrame({**quality, **nmi}))
