"""Configuration and settings files that are bombs, programs or riddles: refused in one message, quickly, in little memory."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from selfsv.errors import SettingsError
from selfsv.settings.data import Corpus, PackSettings
from selfsv.settings.experiment import resolve
from selfsv.settings.reading import check_file, parsed
from selfsv.settings.section import Section
from tests.hostile.conftest import REPOSITORY, refused, run_stage

LEVELS = 10  # 9^10 leaves


def bomb(leaf: str, key: str, mapping: bool = False, levels: int = LEVELS) -> str:
    """A billion laughs below `key`."""
    lines = [f"x0: &x0 {leaf}"]
    for level in range(1, levels):
        items = [f"k{item}: *x{level - 1}" if mapping else f"*x{level - 1}" for item in range(9)]
        lines.append(f"x{level}: &x{level} " + ("{%s}" if mapping else "[%s]") % ", ".join(items))
    return "\n".join([*lines, f"{key}: *x{levels - 1}", ""])


MERGES = "\n".join(["x0: &x0 {a: 1}", *(f"x{i}: &x{i} {{<<: [{', '.join([f'*x{i - 1}'] * 9)}]}}" for i in range(1, LEVELS))])
REFUSED = {
    "list bomb": (bomb("[x, x]", "shards"), "line 2: no aliases"),
    "mapping bomb": (bomb("{k: 1}", "shards", mapping=True), "line 2: no aliases"),
    "merge bomb": (MERGES, "line 2: no aliases"),
    "itself": ("shards: &a [*a]\n", "line 1: no aliases"),
    "a call": ("shards: !!python/object/apply:os.mkdir [pwned]\n", "python/object/apply"),
    "a new object": ("shards: !!python/object/new:os.mkdir [pwned]\n", "python/object/new"),
    "a module": ("!!python/module:os {}\n", "python/module"),
    "deep": ("shards: " + "[" * 100_000 + "]" * 100_000, "nested too deeply"),
    "deep JSON": ('{"shards": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
    "deep mapping": ("{a: " * 100_000, "nested too deeply"),
    "twice": ("shards: 1\nmin_seconds: 2\nshards: 2\n", "line 3: the key 'shards' is there twice"),
    "twice in JSON": ('{"shards": 1, "shards": 2}', "the key 'shards' is there twice"),
    "twice below": ("a: {b: 1, b: 2}", "line 1: the key 'b' is there twice"),
    "unknown": ("shrads: 1\n", "unknown config key 'shrads'"),
    "unknown and red": ('"\\e[31mshards": 1\n', "unknown config key '\\x1b[31mshards'"),
    "a list": ("[1, 2]\n", "the configuration"),
    "nothing": ("", "the configuration"),
    "no YAML": ("shards: [1\n", "neither JSON nor YAML"),
    "no number": ("shards: .nan\n", "shards"),
    "long": ("shards: " + "x" * 1_000_000, "shards"),
    "many": ("".join(f"k{number}: 1\n" for number in range(3000)), "and 2980 more"),
    "two documents": ("shards: 1\n---\nshards: 2\n", "neither JSON nor YAML"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_settings_file_is_refused_in_one_short_message(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    text, expected = REFUSED[name]
    Path("mine.yaml").write_text(text)
    start = time.monotonic()
    with pytest.raises(SettingsError) as caught:
        PackSettings.read("mine.yaml")
    assert time.monotonic() - start < 10
    assert str(caught.value).startswith("mine.yaml: ") and expected in str(caught.value)
    assert len(str(caught.value)) < 3000


def test_a_settings_file_that_is_no_text(tmp_path):
    (tmp_path / "mine.yaml").write_bytes(b"shards: \xff\xfe")
    with pytest.raises(SettingsError, match=r"mine\.yaml"):
        PackSettings.read(str(tmp_path / "mine.yaml"))


def test_a_stage_refuses_a_bomb_in_little_memory(tmp_path):
    (tmp_path / "mine.yaml").write_text(REFUSED["mapping bomb"][0])
    done = run_stage(
        "listing", "--settings=mine.yaml", "--shards=1", "--listing=l", "--speakers=s", "--left-out=e", folder=tmp_path, limit=True
    )
    refused(done, "mine.yaml: line 2")


@pytest.mark.parametrize("path", ["a b", "語 😀", "$(touch pwned)", "\\", "\udcff", "'\"", "/", "{}", "\x1b", "a\nb"])
def test_settings_arrive_as_they_were_sent(path):
    sent = Corpus(layout="folder", path=path)
    assert Corpus.read(sent.to_json()) == sent


def test_what_is_read_strictly_still_reads_plain_files():
    assert parsed("{a: 1, b: [x, 2.5]}") == {"a": 1, "b": ["x", 2.5]}
    for name in ("config.yaml", "demo/config.yaml"):
        check_file(REPOSITORY / name)
        assert parsed((REPOSITORY / name).read_text()) == yaml.safe_load((REPOSITORY / name).read_text())


CONFIG = {"experiment": "x", "corpora": {"train": {"layout": "folder", "path": "a"}}}


@pytest.mark.parametrize("key", ["experiment", "seed", "pack", "corpora", "trials", "noise"])
def test_a_bomb_that_snakemake_let_pass_is_not_printed(key):
    """Aliases stay shared objects as long as nobody writes them out."""
    value: object = ["x"]
    for _ in range(30):
        value = [value] * 9
    start = time.monotonic()
    with pytest.raises(SettingsError) as caught:
        resolve({**CONFIG, key: value})
    assert time.monotonic() - start < 5
    assert len(str(caught.value)) < 5000 and key in str(caught.value)


# --- Snakemake --------------------------------------------------------------------------------------------------------
#
# Snakemake reads the files of --configfile itself, before it opens the Snakefile: nothing in this repository runs earlier. Its
# reader takes no tags of Python's, and keeps lists that aliases share. Two things it does that only the person who names the
# file can prevent: it writes shared mappings out when it merges files, so a bomb of mappings costs its process as much as it
# may have (of time and memory; nothing is run), and a file that says `__use_yte__: true` is by its documentation a program.


@pytest.fixture(scope="module")
def readable(tmp_path_factory) -> Path:
    """Reads a configuration file as Snakemake does and says how many different objects there are in it."""
    script = tmp_path_factory.mktemp("reader") / "reader.py"
    script.write_text(
        "import sys\n"
        "from snakemake.common.configfile import load_configfile\n"
        "from snakemake.utils import update_config\n"
        "from snakemake.exceptions import WorkflowError\n"
        "try:\n"
        "    found = load_configfile(sys.argv[1])\n"
        "except WorkflowError as error:\n"
        "    sys.exit(f'refused: {error}')\n"
        "merged = {}\n"
        "update_config(merged, found)\n"
        "seen, waiting = set(), [merged]\n"
        "while waiting:\n"
        "    value = waiting.pop()\n"
        "    if id(value) not in seen:\n"
        "        seen.add(id(value))\n"
        "        waiting += value.values() if isinstance(value, dict) else value if isinstance(value, list) else []\n"
        "print(len(seen))\n"
    )
    return script


def test_what_snakemakes_own_reader_does(readable, tmp_path):
    files = {
        "tag": REFUSED["a call"][0],
        "new": REFUSED["a new object"][0],
        "lists": bomb("[x, x]", "experiment"),
        "mappings": bomb("{k: 1}", "pack", mapping=True, levels=4),
    }
    answers = {}
    for name, text in files.items():
        (tmp_path / f"{name}.yaml").write_text(text)
        command = [sys.executable, str(readable), f"{name}.yaml"]
        answers[name] = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    for name in ("tag", "new"):
        assert answers[name].returncode == 1 and answers[name].stderr.startswith("refused: ")
    assert int(answers["lists"].stdout) < 100, "shared lists stay shared"
    assert int(answers["mappings"].stdout) > 9**3, "if this fails, Snakemake has mended it: the note above can go"


def test_a_stage_is_never_handed_a_template(tmp_path):
    """What Snakemake reads as a program is plain text, and an unknown key, to everything here."""
    text = "__use_yte__: true\n__definitions__:\n  - import os; os.mkdir('pwned')\n"
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(SettingsError, match="unknown config key '__use_yte__'"):
        PackSettings.read(str(tmp_path / "mine.yaml"))


def test_settings_are_closed():
    sections: list[type[Section]] = [Section]
    for section in sections:
        assert section.model_config["extra"] == "forbid"
        sections += section.__subclasses__()
    assert len(sections) > 20
