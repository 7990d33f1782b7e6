"""The licences of the demo's recordings: REUSE.toml, demo/SOURCES.csv and LICENSES/ say the same."""

import csv
import re
import tomllib

from tests.conftest import REPOSITORY

BABBLE = "those of speech/dev"  # in SOURCES.csv: a sum of several talkers


def annotations() -> list[tuple[re.Pattern[str], str]]:
    """Path and licence of each table of REUSE.toml, whose `*` stops at a folder's end and whose `**` does not."""
    tables = tomllib.loads((REPOSITORY / "REUSE.toml").read_text(encoding="utf-8"))["annotations"]
    globs = [([table["path"]] if isinstance(table["path"], str) else table["path"], table["SPDX-License-Identifier"]) for table in tables]
    return [
        (re.compile("|".join(re.escape(path).replace(r"\*\*", ".*").replace(r"\*", "[^/]*") for path in paths)), licence)
        for paths, licence in globs
    ]


def sources() -> dict[str, str]:
    """Licence of each file below demo/, by SOURCES.csv."""
    with open(REPOSITORY / "demo" / "SOURCES.csv", newline="", encoding="utf-8") as file:
        return {f"demo/{row['path']}": row["licence"] for row in csv.DictReader(file)}


def parts(expression: str) -> set[str]:
    """What an SPDX expression joins with AND."""
    return {part.strip(" ()") for part in expression.split(" AND ")}


def test_every_recording_has_the_licence_of_its_source():
    tables, licences = annotations(), sources()
    files = [path.relative_to(REPOSITORY).as_posix() for kind in ("speech", "noise") for path in (REPOSITORY / "demo" / kind).rglob("*.*")]
    assert sorted(files) == sorted(licences)
    for path, licence in licences.items():
        said = [expression for pattern, expression in tables if pattern.fullmatch(path)][-1]
        if licence == BABBLE:
            assert parts(said) == {other for file, other in licences.items() if file.startswith("demo/speech/dev/")}, path
        else:
            assert said == licence, path


def test_every_licence_has_its_text_and_no_other_lies_there():
    named = {word for _, expression in annotations() for word in re.findall(r"[\w.+-]+", expression)} - {"AND", "OR"}
    assert {name.removesuffix("+") for name in named} == {path.stem for path in (REPOSITORY / "LICENSES").iterdir()}
    assert (REPOSITORY / "LICENSES" / "MIT.txt").read_text() == (REPOSITORY / "LICENSE").read_text()
