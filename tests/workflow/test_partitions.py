"""The template of a cluster's partitions, by the executor's own choice between them."""

import logging
from types import SimpleNamespace

import pytest
import yaml
from snakemake_executor_plugin_slurm.partitions import get_best_partition, read_partition_file

from tests.conftest import REPOSITORY
from tests.slurm.test_slurm import ASKED

TEMPLATE = REPOSITORY / "slurm" / "partitions.yaml"


def chosen(rule: str, threads: int, mem_mb: int, runtime: int, gpu: int) -> str | None:
    job = SimpleNamespace(name=rule, threads=threads, resources={"mem_mb": mem_mb, "runtime": runtime, "gpu": gpu})
    return get_best_partition(read_partition_file(TEMPLATE), job, logging.getLogger(__name__))


@pytest.mark.parametrize("rule", ASKED)
def test_each_stage_goes_where_what_it_asks_for_is(rule):
    """Also when it asks for twice the memory at its second try."""
    threads, mem_mb, runtime, gpu = ASKED[rule]
    for times in (1, 2):
        assert chosen(rule, threads, times * mem_mb, runtime, gpu) == ("gpu" if gpu else "cpu")


def test_a_job_that_fits_nowhere_is_left_to_the_cluster():
    assert chosen("pretrain", 8, 64000, 100_000, 1) is None


def test_the_profile_names_the_template():
    (line,) = [line for line in (REPOSITORY / "slurm" / "config.yaml").read_text().splitlines() if "slurm-partition-config" in line]
    assert yaml.safe_load(line.lstrip("# ")) == {"slurm-partition-config": str(TEMPLATE.relative_to(REPOSITORY))}
