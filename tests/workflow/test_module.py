"""The workflow as a module of another one: its files are found from where it is, its results go to the caller's working directory."""

import subprocess
import sys

import pytest

from tests.workflow.conftest import Workshop

CALLER = """
module selfsv:
    snakefile: "{snakefile}"
    config: config
    {more}
use rule * from selfsv{names}
"""
# What a caller may have beside its Snakefile: names that our stages and rules import, too.
NAMESAKES = ("json.py", "pipeline/__init__.py", "selfsv/__init__.py", "workflow/__init__.py", "workflow/environment.py")
OWN_RULE = """
rule own:
    input: rules.voices_data.input
    output: "own.txt"
    shell: "{python} scripts/own.py > {{output}}"
"""


def calling(folder, of, names="", more="", snakefile="Snakefile"):
    """A workflow in a folder of its own that uses the one in `of`."""
    folder.mkdir()
    caller = Workshop(folder, of.server)
    caller.configure()
    (folder / "the trials.txt").touch()
    (folder / "Snakefile").write_text(CALLER.format(snakefile=of.folder / snakefile, names=names, more=more))
    return caller


@pytest.mark.parametrize("snakefile", ["Snakefile", "workflow/Snakefile"])
def test_a_module_plans_what_the_workflow_itself_plans(fresh, tmp_path, snakefile):
    plan = calling(tmp_path / "caller", fresh, snakefile=snakefile).plan()
    assert plan.outputs == fresh.plan().outputs
    assert plan.rules - fresh.plan().rules == ({"default": 1} if snakefile == "workflow/Snakefile" else {})


def test_two_experiments_are_two_modules_with_names_of_their_own(fresh, tmp_path):
    caller = calling(tmp_path / "caller", fresh, names=" as voices_*")
    second = CALLER.format(snakefile=fresh.folder / "Snakefile", names=" as faces_*", more="")
    second = second.replace("config: config", 'config: {**config, "experiment": "other", "modality": "audio_visual"}')
    both = "rule both:\n    default_target: True\n    input: rules.voices_all.input, rules.faces_all.input\n"
    caller.append("Snakefile", second.replace("selfsv:", "second:").replace("from selfsv", "from second") + both)
    plan = caller.plan()
    voices = {name.removeprefix("voices_"): count for name, count in plan.rules.items() if name.startswith("voices_")}
    assert voices == fresh.plan().rules
    assert plan.rules["faces_train_av"] == 2 and not plan.rules["faces_train"]
    assert {"report.html", "results/other/report.html"} <= plan.outputs


def test_stages_of_a_module_run_beside_a_callers_own_modules_and_rules(fresh, tmp_path):
    """Ours import ours, and the caller's scripts still find what is beside them."""
    caller = calling(tmp_path / "it's a caller", fresh, names=" as voices_*")
    for name in NAMESAKES:
        (caller.folder / name).parent.mkdir(exist_ok=True)
        (caller.folder / name).write_text(f'raise RuntimeError("{name} of the caller")\n')
    (caller.folder / "scripts").mkdir()
    (caller.folder / "scripts" / "own.py").write_text("import beside\nprint(beside.TEXT)\n")
    (caller.folder / "scripts" / "beside.py").write_text("TEXT = 'found'\n")
    caller.append("Snakefile", OWN_RULE.format(python=sys.executable))
    before = {path for path in fresh.folder.rglob("*") if "__pycache__" not in path.parts}
    done = caller.snakemake("own.txt", "--configfile", "overlay.yaml")
    assert done.status == 0, done.told
    assert (caller.folder / "own.txt").read_text() == "found\n"
    assert {stage for stage, _ in caller.calls()} == {"listing", "pack", "manifest", "noise", "rirs"}
    assert (caller.folder / "results/tiny/logs/rirs.log").exists()
    assert {path for path in fresh.folder.rglob("*") if "__pycache__" not in path.parts} == before


def test_a_prefix_is_refused_before_anything_runs(fresh, tmp_path):
    done = calling(tmp_path / "caller", fresh, more='prefix: "voices"').snakemake("--dry-run", "--configfile", "overlay.yaml")
    assert done.status == 1 and "takes no `prefix`" in done.told


def test_rules_without_a_checkout_are_refused(fresh, tmp_path):
    """As `github(...)` would bring them; here out of a repository on this disk."""
    git = ["git", "-C", str(fresh.folder), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for command in (["init", "--quiet", "--initial-branch", "main"], ["add", "Snakefile"], ["commit", "--quiet", "-m", "one"]):
        subprocess.run([*git, *command], check=True)
    caller = calling(tmp_path / "caller", fresh)
    text = CALLER.format(snakefile="", names="", more="").replace('""', f'gitfile("{fresh.folder}", path="Snakefile", ref="main")')
    (caller.folder / "Snakefile").write_text(text)
    done = caller.snakemake("--dry-run", "--configfile", "overlay.yaml")
    assert done.status == 1 and "runs from a checkout" in done.told, done.told
