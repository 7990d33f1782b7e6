"""What jobs took."""

import pandas as pd


def test_every_job_leaves_its_seconds_and_memory_beside_its_log(workshop):
    results = workshop.folder / "results/tiny"
    logs = {path.stem for path in (results / "logs").glob("*.log")}
    benchmarks = {path.stem: pd.read_csv(path, sep="\t") for path in (results / "benchmarks").iterdir()}
    assert benchmarks.keys() == logs and len(logs) == len(workshop.calls())
    for job, table in benchmarks.items():
        assert len(table) == 1 and table["s"][0] > 0 and "max_pss" in table, job
    for path in (results / "benchmarks").iterdir():
        path.unlink()
    assert not workshop.plan().rules
