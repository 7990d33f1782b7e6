"""`selfsv compare`: runs of one configuration become one figure, and configurations are told apart where that is shown."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from selfsv.__main__ import main
from selfsv.artifacts import read_table, write_table
from selfsv.scoring.error_rates import equal_error_rate, operating_points
from selfsv.settings.experiment import resolve

SPEAKERS, EACH = 24, 3


def experiment(folder: Path, separation: float, seed: int, **changes: object) -> Path:
    """A folder with settings, and scores of two rounds and lists; those of round 1 are `separation` apart."""
    corpora = {name: {"layout": "folder", "path": name} for name in ("train", "test")}
    trials = {name: {"corpus": "test", "path": name} for name in ("easy", "hard")}
    config = {"experiment": folder.name, "seed": seed, "rounds": 1, "corpora": corpora, "trials": trials, **changes}
    folder.mkdir(parents=True)
    (folder / "settings.json").write_text(json.dumps(resolve(config).model_dump(mode="json")))
    talkers = np.random.default_rng(0)
    who = np.repeat(np.arange(SPEAKERS), EACH)
    first, second = np.triu_indices(len(who), 1)
    target = who[first] == who[second]
    hardness = talkers.normal(scale=0.4, size=SPEAKERS)
    common = hardness[who[first]] + hardness[who[second]] + 0.8 * talkers.normal(size=len(first))
    own = 0.3 * np.random.default_rng(seed).normal(size=len(first))
    names = np.array([f"{speaker}/{index}" for index, speaker in enumerate(who)])
    for system, apart in (("iter_0", 0.5), ("iter_1", separation)):
        for trials_name in ("easy", "hard"):
            cosine = apart * target + common + own
            columns = {"enroll": names[first], "test": names[second], "target": target, "cosine": cosine, "snorm": cosine}
            write_table(folder / system / "scores" / f"{trials_name}.parquet", pd.DataFrame(columns))
    write_table(folder / "data" / "test" / "speakers.parquet", pd.DataFrame({"utterance": names, "speaker": who.astype(str)}))
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> list[Path]:
    """Two seeds of one configuration, and one of another that is better."""
    root = tmp_path_factory.mktemp("compared")
    better = {"cluster": {"whitening": 0.5}}
    return [experiment(root / "a1", 2.0, 1), experiment(root / "a2", 2.0, 2), experiment(root / "b", 2.6, 1, **better)]


def eer_of(folder: Path, trials: str = "easy") -> float:
    scores = read_table(folder / "iter_1" / "scores" / f"{trials}.parquet")
    return equal_error_rate(*operating_points(scores["cosine"].to_numpy(), scores["target"].to_numpy()))


def test_seeds_are_pooled_and_configurations_compared(folders, tmp_path, capsys):
    output = tmp_path / "differences.parquet"
    assert main(["compare", *map(str, folders), "--json", "--output", str(output)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["configurations"] == {"A": "a1, a2: DLG-LC round 1, seeds 1, 2", "B": "b: DLG-LC round 1, seed 1"}
    assert set(found["lists"]) == {"easy", "hard"} and f"resampling the {SPEAKERS} speakers" in found["lists"]["easy"]
    [pooled, single] = [row for row in found["figures"] if (row["trials"], row["norm"]) == ("easy", "cosine")]
    assert (pooled["runs"], single["runs"]) == (2, 1)
    assert pooled["eer"] == pytest.approx((eer_of(folders[0]) + eer_of(folders[1])) / 2)
    assert pooled["eer_low"] < pooled["eer"] < pooled["eer_high"]
    differences = read_table(output)
    assert differences.to_dict("records") == found["differences"]
    row = differences.set_index(["trials", "norm", "measure"]).loc[("easy", "cosine", "eer")]
    assert (row["system_a"], row["system_b"], row["runs_a"], row["runs_b"]) == ("B", "A", 1, 2)
    assert row["difference"] == pytest.approx(single["eer"] - pooled["eer"])


def test_two_models_on_the_same_talkers_differ_visibly(folders, capsys):
    """The difference is shown though the two intervals overlap: the talkers are the same."""
    assert main(["compare", str(folders[0]), str(folders[2]), "--trials", "hard", "--norm", "cosine"]) == 0
    text = capsys.readouterr().out
    assert "B is better" in text and "snorm" not in text and "easy" not in text
    assert f"{100 * eer_of(folders[0], 'hard'):.2f} [" in text


def test_an_experiment_like_itself_is_not_better(folders, tmp_path, capsys):
    copy = experiment(tmp_path / "copy", 2.0, 1, cluster={"whitening": 0.1})
    assert main(["compare", str(folders[0]), str(copy), "--json", "--trials", "easy"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert all(row["difference"] == 0 and row["low"] is None and not row["shown"] for row in found["differences"])


def test_another_system_may_be_asked_for(folders, capsys):
    assert main(["compare", *map(str, folders), "--system", "iter_0", "--trials", "easy", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["configurations"]["B"] == "b: CA-DINO, seed 1"


def changed_trials(folder: Path) -> None:
    path = folder / "iter_1" / "scores" / "easy.parquet"
    table = read_table(path)
    write_table(path, table.assign(target=table["target"] ^ (table.index == 4)))


def fewer_trials(folder: Path) -> None:
    path = folder / "iter_1" / "scores" / "easy.parquet"
    write_table(path, read_table(path).iloc[:-3])


def no_settings(folder: Path) -> None:
    (folder / "settings.json").unlink()


def no_scores(folder: Path) -> None:
    for path in (folder / "iter_1" / "scores").iterdir():
        path.unlink()


def other_lists(folder: Path) -> None:
    for path in (folder / "iter_1" / "scores").iterdir():
        path.rename(path.with_stem(f"other_{path.stem}"))


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (changed_trials, "hold different trials, first in row 5"),
        (fewer_trials, "2,556 trials and"),
        (no_settings, "holds no settings.json"),
        (no_scores, "has no scores of iter_1 (there are scores of iter_0)"),
        (other_lists, "has no scores of iter_1"),
    ],
)
def test_what_cannot_be_compared_is_refused(folders, tmp_path, capsys, break_it, message):
    broken = experiment(tmp_path / "broken", 2.0, 3)
    break_it(broken)
    assert main(["compare", str(folders[0]), str(broken)]) == 2
    assert message in capsys.readouterr().err


def test_a_folder_twice_and_an_unknown_list_are_refused(folders, capsys):
    assert main(["compare", str(folders[0]), f"{folders[0]}/."]) == 2
    assert "is named twice" in capsys.readouterr().err
    assert main(["compare", *map(str, folders), "--trials", "nope"]) == 2
    assert "the trial list 'nope'" in capsys.readouterr().err
    assert main(["compare", *map(str, folders), "--output", "x.csv"]) == 2
