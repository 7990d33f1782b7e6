"""The measurements at VoxCeleb2's size know what the rules ask for."""

import pytest

from benchmarks.scale import allowed


@pytest.mark.parametrize(
    ("rule", "megabytes"), [("stage", 8000), ("manifest", 8000), ("pack", 16000), ("extract", 32000), ("pretrain", 64000), ("none", None)]
)
def test_memory_is_that_of_the_rule_or_of_what_it_inherits(rule, megabytes):
    assert allowed(rule) == megabytes
