"""The names of systems, what people call them, and their order in a table."""

from selfsv.scoring.systems import finetuned, labelled, order, systems, title


def test_titles_say_what_a_system_is():
    names = ["iter_0", "iter_2", "large_margin", "finetuned_iter_0_10", "finetuned_iter_12_50", "finetuned_random_100"]
    assert [title(name) for name in names] == [
        "CA-DINO",
        "DLG-LC round 2",
        "large margin",
        "CA-DINO, 10 % labelled",
        "DLG-LC round 12, 50 % labelled",
        "random weights, 100 % labelled",
    ]


def test_a_name_says_what_it_was_told():
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
