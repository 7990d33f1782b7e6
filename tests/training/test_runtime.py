"""How a job uses the machine's cores."""

import faiss
import torch

from selfsv.engine.processes import Group
from selfsv.engine.runtime import Runtime


def test_one_process_clusters_on_all_cores_of_the_job_while_the_others_wait():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)  # the share of one of several processes
        runtime = Runtime(torch.device("cpu"), 0, bfloat16=False, compile=False, checkpoint_seconds=60.0, group=Group(0, 3), cores=3)
        with runtime.all_cores():
            assert (torch.get_num_threads(), faiss.omp_get_max_threads()) == (3, 3)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
