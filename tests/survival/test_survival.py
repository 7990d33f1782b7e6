"""A few kills in a few stages; `python -m tests.survival.disturbing` deals out a hundred."""

from tests.survival.disturbing import Kill, survive

KILLS = [
    Kill("pack", "kill the stage", 0.5),
    Kill("pretrain", "kill Snakemake", 0.5),
    Kill("extract", "kill both", 0.3),
    Kill("train", "terminate the stage", 0.6),
]


def test_nothing_is_lost(tmp_path):
    struck, different = survive(KILLS, tmp_path)
    assert sum(struck.values()) == len(KILLS), struck
    assert different == []
