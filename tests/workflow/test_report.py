"""Snakemake's own report: `snakemake --report` shows what is worth a look, by category."""

import base64
import json
import re

import pandas as pd

SHOWN = {
    "Experiment": {"results/tiny/report.html", "results/tiny/settings.json"},
    "Error rates": {f"results/tiny/{table}.parquet" for table in ("metrics", "comparisons", "conditions")},
}


def embedded(page, variable):
    """The value of a variable in the page's script."""
    [text] = re.findall(rf"^ *var {variable} = ([{{\"].*);$", page, re.MULTILINE)
    return json.loads(text)


def test_the_report_shows_the_page_the_settings_and_the_error_rates(workshop):
    table = workshop.folder / "results/tiny/metrics.parquet"
    pd.DataFrame({"system": ["iter_0"], "eer": [0.25]}).to_parquet(table)
    done = workshop.snakemake("--configfile", "overlay.yaml", "--report", "shown.html")
    assert done.status == 0, done.told
    page = (workshop.folder / "shown.html").read_text(encoding="utf-8")
    categories = embedded(page, "categories")
    assert {name: {path for paths in parts.values() for path in paths} for name, parts in categories.items()} == SHOWN
    results = embedded(page, "results")
    for path in results:
        content = base64.b64decode(results[path]["data_uri"].partition(";base64,")[2])
        assert content == (workshop.folder / path).read_bytes(), path
    assert "rounds of extract, cluster, train" in embedded(page, "workflow_desc")
