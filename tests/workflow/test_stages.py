"""The options that rules hand to scripts, and the files that settings come in."""

import json
from pathlib import Path

from selfsv.settings.scoring import MetricSettings
from selfsv.settings.section import validated
from workflow.stages import settings_file, words


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Content and time of writing of each file."""
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def test_lists_follow_their_name_and_empty_ones_are_left_out():
    options = {"face_model": "a b.pt", "audio": ["0.pt", "1.pt"], "start": [], "seed": 0, "weight": None}
    assert words(options) == ["--face-model", "a b.pt", "--audio", "0.pt", "1.pt", "--seed", "0", "--weight", "None"]


def test_a_file_holds_the_settings_and_is_named_after_them(tmp_path):
    one, other = (validated(MetricSettings, {"p_target": p_target}) for p_target in (0.01, 0.05))
    paths = [settings_file(tmp_path / "settings", "metrics", settings) for settings in (one, other, one)]
    assert paths[0] == paths[2] != paths[1]
    assert MetricSettings.read(str(paths[0])) == one and MetricSettings.read(str(paths[1])) == other
    assert json.loads(paths[1].read_text()) == other.model_dump(mode="json")
    assert len(list((tmp_path / "settings").iterdir())) == 2  # nothing else is left there


def test_a_file_is_left_alone_unless_it_is_damaged(tmp_path):
    settings = MetricSettings()
    path = settings_file(tmp_path, "metrics", settings)
    before = contents(tmp_path)
    settings_file(tmp_path, "metrics", settings)
    assert contents(tmp_path) == before
    path.write_text("")
    assert MetricSettings.read(str(settings_file(tmp_path, "metrics", settings))) == settings


def test_another_config_leaves_the_files_of_the_first(workshop):
    """Jobs of the first may still be about to read them."""
    folder = workshop.folder / "results/tiny/settings"
    before = contents(folder)
    workshop.configure(score={"cohort_top": 7})
    workshop.run()
    after = contents(folder)
    assert after.items() > before.items()
    assert {name.partition("-")[0] for name in after.keys() - before} == {"calibrate", "score", "diagnose", "report", "record"}


def test_deleted_files_come_back_and_rerun_nothing(workshop):
    folder = workshop.folder / "results/tiny/settings"
    names = set(contents(folder))
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    assert not workshop.plan().rules
    assert {path.name for path in folder.iterdir()} <= names


def test_linting_writes_none(fresh):
    assert fresh.snakemake("--lint").status == 0
    assert not (fresh.folder / "results").exists()


def test_a_folder_that_cannot_be_written_is_said(fresh):
    (fresh.folder / "results/tiny").mkdir(parents=True)
    (fresh.folder / "results/tiny/settings").touch()
    done = fresh.snakemake("--configfile", "overlay.yaml")
    assert done.status == 1
    assert "File exists: 'results/tiny/settings'" in done.told
