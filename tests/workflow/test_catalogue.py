"""What Snakemake's catalogue of workflows asks of a repository: its README, section "Standardized usage workflows"."""

import yaml

from tests.workflow.conftest import REPOSITORY

USAGE = yaml.safe_load((REPOSITORY / ".snakemake-workflow-catalog.yml").read_text(encoding="utf-8"))["usage"]


def test_the_catalogue_finds_what_it_looks_for():
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8").lower()
    assert "snakemake" in readme and "workflow" in readme
    assert (REPOSITORY / "workflow" / "Snakefile").is_file() and (REPOSITORY / "config" / "README.md").is_file()
    folder = REPOSITORY / "workflow" / "rules"
    assert {path.suffix for path in folder.iterdir() if path.is_file()} == {".smk"}


def test_the_catalogue_promises_what_the_rules_have():
    rules = "".join(path.read_text(encoding="utf-8") for path in (REPOSITORY / "workflow" / "rules").glob("*.smk"))
    directives = {"conda": "conda:", "singularity": "container:", "apptainer": "container:", "singularity+conda": "container:"}
    promised = USAGE["software-stack-deployment"]
    assert any(promised.values())
    assert all((f"    {directives[method]}\n" in rules) for method, offered in promised.items() if offered)
    assert USAGE["report"] == ("report(" in rules)
    assert set(USAGE) == {"mandatory-flags", "software-stack-deployment", "report"}
    assert set(USAGE["mandatory-flags"]) == {"desc", "flags"}
