"""The names of systems, what people call them, and their order in a table."""

import pytest
import yaml

from selfsv.scoring.systems import finetuned, labelled, order, systems, title
from selfsv.settings.experiment import Experiment, overlaid, resolve
from selfsv.settings.stage_one import stage_one_title
from tests.conftest import REPOSITORY

# As the paper's Table IV, or the article that an overlay comes from, names its first stage.
NAMES = {
    "ap": "AP",
    "ap_aat": "AP + AAT",
    "dino": "DINO",
    "dino_no_ema": "DINO without EMA",
    "dino_ssps": "DINO + SSPS",
    "dku_audio": "SimCLR",
    "dku_av": "SimCLR",
    "gcl": "SimCLR",  # without augmentation, which is a setting of all stages
    "idlab": "MoCo",
    "ivector": "i-vectors",
    "jhu": "DINO",
    "lg": "angular contrastive + AAT",
    "moco": "MoCo",
    "redundancy": "RDINO",
    "sdpn": "SDPN",
    "sdpn_large": "SDPN",
    "simclr": "SimCLR",
    "simclr_channel_invariance": "SimCLR + channel invariance",
    "simclr_ssps": "SimCLR + SSPS",
    "snu": "Unif + CEL",
    "strong": "CA-DINO",
    "supervised": "CA-DINO",  # stage I is the paper's, beside the supervised system
    "unif_cel": "Unif + CEL",
}


def test_titles_say_what_a_system_is():
    names = ["iter_0", "iter_2", "large_margin", "finetuned_iter_0_10", "finetuned_iter_12_50", "finetuned_random_100"]
    assert [title(name, "MoCo") for name in names] == [
        "MoCo",
        "DLG-LC round 2",
        "large margin",
        "MoCo, 10 % labelled",
        "DLG-LC round 12, 50 % labelled",
        "random weights, 100 % labelled",
    ]
    assert title("iter_0") == "stage I" and title("finetuned_iter_0_10") == "stage I, 10 % labelled"


def experiment(overlay: dict[str, object]) -> Experiment:
    """config.yaml with changes."""
    return resolve(overlaid(yaml.safe_load((REPOSITORY / "config.yaml").read_text()), overlay))


def test_every_overlay_is_called_what_its_article_calls_it():
    assert {path.stem for path in (REPOSITORY / "systems").glob("*.yaml")} == NAMES.keys()
    overlays = {name: yaml.safe_load((REPOSITORY / "systems" / f"{name}.yaml").read_text()) for name in NAMES}
    assert {name: stage_one_title(experiment(overlay)) for name, overlay in overlays.items()} == NAMES


@pytest.mark.parametrize(
    ("overlay", "name"),
    [
        ({}, "CA-DINO"),
        ({"pretrain": {"epochs": 90}}, "DINO"),  # it ends before the first clustering
        ({"pretrain": {"epochs": 91}}, "CA-DINO"),
        ({"pretrain": {"method": "sdpn"}}, "CA-SDPN"),
        ({"initial_model": "results/other/iter_0/model.pt", "pretrain": {"method": "sdpn"}}, "initial model"),
    ],
)
def test_the_name_says_whether_there_are_clusters_and_whose_model_it_is(overlay, name):
    assert stage_one_title(experiment(overlay)) == name


def test_a_name_says_which_labels_it_was_tuned_on():
    assert finetuned(["random", "iter_1"], [10, 10, 100]) == [
        "finetuned_random_10",
        "finetuned_random_100",
        "finetuned_iter_1_10",
        "finetuned_iter_1_100",
    ]
    assert labelled("finetuned_iter_1_100") == ("iter_1", 100)
    assert labelled("iter_1") is None and labelled("large_margin") is None


def test_what_is_made_of_the_rounds_comes_after_them():
    tuned = ["finetuned_random_20", "finetuned_random_100", "finetuned_iter_2_10", "finetuned_iter_10_10"]
    expected = [*systems(10, baselines=True), "large_margin", *tuned]
    assert sorted({*expected}, key=order) == expected
