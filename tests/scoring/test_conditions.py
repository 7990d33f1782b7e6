"""Error rates by condition: which trials count where, and what may be said about speakers."""

import numpy as np
import pandas as pd
import pytest

from selfsv.errors import InputError
from selfsv.scoring.conditions import DURATION, SESSION, conditions_of, read_speakers_table
from selfsv.scoring.error_rates import equal_error_rate, operating_points
from selfsv.scoring.evaluation import condition_rows
from selfsv.scoring.measures import measures
from selfsv.scoring.scored_lists import ScoredList
from selfsv.scoring.units import units_of

# As the file of VoxCeleb1 has it: tabs, spaces in its header, an identifier of its own in each row, and one set.
VOX1_META = """VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet
id10001\tA.J._Buckley\tm\tIreland\tdev
id10002\tA.R._Rahman\tm\tIndia\tdev
id10003\tAamir_Khan\tm\tIndia\tdev
id10004\tAaron_Tveit\tf\tUSA\tdev
id10005\tAaron_Yoo\tf\tUSA\tdev
id10006\tAbbie_Cornish\tf\tUSA\tdev
"""
SPEAKERS = [f"id1000{number}" for number in range(1, 7)]


@pytest.fixture
def table(tmp_path) -> pd.DataFrame:
    (tmp_path / "vox1_meta.csv").write_text(VOX1_META)
    return read_speakers_table(tmp_path / "vox1_meta.csv")


def test_voxcelebs_file_is_read_as_it_is(table):
    assert list(table) == ["Gender", "Nationality"]  # neither names nor a column that says the same of everybody
    assert table.loc["id10002"].tolist() == ["m", "India"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "does not exist"),
        ("speaker\na\nb\n", "has one column"),
        ("speaker,gender\na,f\na,m\n", "has 'a' twice"),
        ("a,b\n\xff", "cannot be read"),
    ],
)
def test_what_is_no_table_of_speakers_is_refused(tmp_path, text, message):
    path = tmp_path / "table.csv"
    if text is not None:
        path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=message):
        read_speakers_table(path)


def corpus() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Four recordings of each speaker, in two sessions; recording k of speaker s lasts s + k seconds."""
    names = [f"{speaker}/{index // 2}/{index}" for speaker in SPEAKERS for index in range(4)]
    seconds = [place + index for place in range(1, 7) for index in range(4)]
    manifest = pd.DataFrame({"utterance": names, "session": [name[:9] for name in names], "num_samples": 16_000 * np.array(seconds)})
    return manifest, pd.DataFrame({"utterance": names, "speaker": [name[:7] for name in names]})


def test_conditions_are_what_a_reader_would_say(table):
    manifest, speakers = corpus()
    trials = pd.DataFrame(
        {"enroll": ["id10001/0/0", "id10002/0/1", "id10004/0/0"], "test": ["id10001/1/2", "id10003/0/0", "id10004/0/1"]}, index=[5, 6, 7]
    )
    found = conditions_of(trials, manifest, speakers, table)
    assert found[DURATION].astype(str).tolist() == ["under 2 s", "2 to 4 s", "4 to 6 s"]
    assert found[SESSION].tolist() == ["another", "another", "the same"]
    assert found["gender"].tolist() == ["m", "m", "f"]
    assert found["nationality"].tolist() == ["Ireland", "India", "USA"]
    other = conditions_of(pd.DataFrame({"enroll": ["id10001/0/0"], "test": ["id10004/0/0"]}), manifest, speakers, table)
    assert other["gender"].isna().all()  # a man against a woman is neither


def test_a_table_of_utterances_needs_no_speakers(tmp_path):
    (tmp_path / "languages.csv").write_text("utterance;language\nx/1;fi\nx/2;fi\ny/1;sv\ny/2;sv\n")
    table = read_speakers_table(tmp_path / "languages.csv")
    trials = pd.DataFrame({"enroll": ["x/1", "x/1"], "test": ["x/2", "y/1"]})
    found = conditions_of(trials, None, None, table)
    assert list(found) == ["language"] and found["language"].fillna("-").tolist() == ["fi", "-"]


def test_a_table_of_other_people_is_refused(table):
    manifest, _ = corpus()
    speakers = pd.DataFrame({"utterance": manifest["utterance"], "speaker": "somebody"})
    trials = pd.DataFrame({"enroll": ["id10001/0/0"], "test": ["id10001/1/2"]})
    with pytest.raises(InputError, match="begins with 'id10001', which is none of the trials' speakers"):
        conditions_of(trials, manifest, speakers, table)


@pytest.fixture
def scored(table) -> ScoredList:
    manifest, speakers = corpus()
    names = manifest["utterance"]
    first, second = np.triu_indices(len(names), 1)
    trials = pd.DataFrame({"enroll": names[first].to_numpy(), "test": names[second].to_numpy()})
    trials["target"] = trials["enroll"].str[:7] == trials["test"].str[:7]
    generator = np.random.default_rng(0)
    # Twenty of each list's trials, many times over with other scores, so that all conditions have enough.
    trials = pd.concat([trials] * 6, ignore_index=True)
    scores = generator.normal(size=len(trials)) + 1.5 * trials["target"].to_numpy()
    conditions = conditions_of(trials, manifest, speakers, table)
    both = {("baseline_fbank", "cosine"): scores, ("iter_0", "cosine"): scores}
    return ScoredList("t", trials, both, units_of(trials["enroll"], trials["test"], speakers, manifest), conditions)


def test_rows_are_the_rates_of_their_trials(scored):
    rows = pd.DataFrame(condition_rows(scored, measures(0.01), draws=60))
    assert set(rows["system"]) == {"iter_0"}
    assert set(rows["condition"]) == {DURATION, SESSION, "gender", "nationality"}
    trials, scores = scored.trials, scored.scores["iter_0", "cosine"]
    women = trials["enroll"].str[:7].isin(SPEAKERS[3:]) & trials["test"].str[:7].isin(SPEAKERS[3:])
    row = rows[(rows["condition"] == "gender") & (rows["value"] == "f")].iloc[0]
    expected = equal_error_rate(*operating_points(scores[women], trials["target"][women].to_numpy()))
    assert row["eer"] == pytest.approx(expected)
    assert (row["targets"], row["nontargets"]) == (int((women & trials["target"]).sum()), int((women & ~trials["target"]).sum()))
    assert (row["units"], row["resampled"]) == (3, "speakers") and np.isnan(row["eer_low"])  # three women say too little


def test_sessions_divide_the_targets_alone(scored):
    rows = pd.DataFrame(condition_rows(scored, measures(0.01), draws=60)).set_index(["condition", "value"])
    same, another = rows.loc[(SESSION, "the same")], rows.loc[(SESSION, "another")]
    assert same["nontargets"] == another["nontargets"] == int((~scored.trials["target"]).sum())
    assert same["targets"] + another["targets"] == int(scored.trials["target"].sum())
    assert same["eer_low"] < same["eer"] < same["eer_high"]


@pytest.mark.parametrize(
    ("parts", "values"),
    [
        (1, set()),  # 24 targets of another session alone: one value, which says nothing of its own
        (2, {"m", "f", "India", "USA", "the same", "another", "2 to 4 s", "4 to 6 s", "6 to 10 s"}),  # 12 targets of the one from Ireland
    ],
)
def test_few_trials_and_conditions_of_one_value_are_left_out(scored, parts, values):
    trials = scored.trials.iloc[: parts * len(scored.trials) // 6]
    short = scored._replace(trials=trials, scores={("iter_0", "cosine"): scored.scores["iter_0", "cosine"][: len(trials)]})
    cut = {name: column.iloc[: len(trials)] for name, column in scored.conditions.items()}
    units = scored.units.subset(np.arange(len(scored.trials)) < len(trials))
    rows = condition_rows(short._replace(conditions=cut, units=units), measures(0.01), draws=10)
    assert {row["value"] for row in rows} == values
    assert all(min(row["targets"], row["nontargets"]) >= 20 for row in rows)
