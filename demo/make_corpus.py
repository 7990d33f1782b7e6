"""Make the demo corpus from a folder of free recordings.

    python demo/make_corpus.py SOURCE [--into demo]

SOURCE holds `speech/` (`utterances.csv`, `trials.txt`, `wav/{talker}/{session}/{utterance}.opus`) and `noise/`
(`sources.csv`, `musan/`, `rirs/`). All speech is kept. Of the augmentation sources a part is dropped so that the whole
stays below `LIMIT`: the second excerpt of each piece of music, and some babble tracks and impulse responses.

Every file is copied byte for byte into the tree layouts of VoxCeleb1, MUSAN and RIRS_NOISES, so that the demo walks the
same code as the real corpora. SOURCES.csv gets one row per file: path, talker, source package, what it was cut from, licence.
"""

import argparse
import csv
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

LIMIT = 29_000_000  # bytes
BABBLE_TRACKS = 16
RESPONSES_PER_ROOM_SIZE = 50
SPLITS = {"train": "dev", "test": "test"}  # ours → VoxCeleb's

# Talker, or start of a package's name → SPDX expression of its licence, as that package's copyright file says. The first that fits counts.
LICENCES = {
    "gcin_3": "GPL-3.0-only OR LGPL-3.0-only",
    "gcin_5": "CC-BY-3.0",
    "klettres-data": "GPL-2.0-or-later",
    "tuxpaint-stamps-default": "GPL-2.0-or-later",
    "asterisk-core-sounds-it": "CC-BY-3.0",
    "asterisk-core-sounds-ru": "CC-BY-3.0",
    "asterisk-core-sounds": "LicenseRef-CC-BY-SA-3.0-US",
    "asterisk-prompt-it-menardi": "LicenseRef-CC-BY-SA-3.0-IT",
    "asterisk-prompt-es-co": "GPL-2.0-only",
    "asterisk-prompt-fr-armelle": "LicenseRef-asterisk-prompt-fr-armelle",
    "fillets-ng-data": "GPL-2.0-only",
    "festvox-ru": "LicenseRef-festvox-ru",
    "qabcs-data": "GPL-3.0-or-later",
    "wesnoth-1.16-data": "GPL-2.0-or-later",
    "flare-game": "CC-BY-SA-3.0+",
    "freedroidrpg-data": "GPL-2.0-or-later",
    "unknown-horizons": "CC-BY-SA-3.0",
}
Row = dict[str, str]


def main() -> None:
    """Copy the chosen files, then write the trial list and the list of sources."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("source", type=Path, help="folder with speech/ and noise/")
    arguments.add_argument("--into", type=Path, default=Path(__file__).parent, help="where to put the corpus")
    args = arguments.parse_args()
    for folder in ("speech", "noise"):
        shutil.rmtree(args.into / folder, ignore_errors=True)
    rows = [*speech(args.source / "speech", args.into), *augmentation(args.source / "noise", args.into)]
    trials = (args.source / "speech/trials.txt").read_text(encoding="utf-8")
    (args.into / "trials.txt").write_text(re.sub(r" wav/", " ", trials), encoding="utf-8")
    with open(args.into / "SOURCES.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["path", "talker", "package", "made_from", "licence"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(rows, key=lambda row: row["path"]))
    size = sum(path.stat().st_size for path in args.into.rglob("*") if path.is_file())
    print(f"{len(rows)} files, {size / 1e6:.2f} MB in {args.into}")
    if size > LIMIT:
        raise SystemExit(f"larger than {LIMIT / 1e6:.0f} MB")


def speech(source: Path, into: Path) -> Iterator[Row]:
    """Copy every utterance to `speech/{dev,test}/wav/{talker}/{session}/`; yields its row of SOURCES.csv."""
    with open(source / "utterances.csv", newline="", encoding="utf-8") as file:
        for utterance in csv.DictReader(file):
            path = f"speech/{SPLITS[utterance['split']]}/{utterance['path']}"
            copy(source / utterance["path"], into / path)
            package = package_of(utterance["session"])
            yield row(path, utterance["speaker"], package, f"consecutive short recordings of {package}")


def augmentation(source: Path, into: Path) -> Iterator[Row]:
    """Copy the chosen noises and impulse responses to `noise/`; yields their rows of SOURCES.csv."""
    with open(source / "sources.csv", newline="", encoding="utf-8") as file:
        made_from = {line["path"]: line["made from"] for line in csv.DictReader(file)}
    for path in chosen_noises(made_from):
        copy(source / path, into / "noise" / path)
        yield noise_row(path, made_from[path])
    for room in sorted((source / "rirs/simulated_rirs").iterdir()):
        for file_path in sorted(room.rglob("*.flac"))[:RESPONSES_PER_ROOM_SIZE]:
            path = file_path.relative_to(source).as_posix()
            copy(file_path, into / "noise" / path)
            yield row(f"noise/{path}", "", "", "simulated with pyroomacoustics", "MIT")


def chosen_noises(made_from: dict[str, str]) -> Iterator[str]:
    """Every ambient recording, one excerpt of each piece of music, and the first babble tracks."""
    pieces: set[str] = set()
    babble = 0
    for path, origin in sorted(made_from.items()):
        if "/music/" in path:
            if origin in pieces:
                continue
            pieces.add(origin)
        elif "/speech/" in path:
            babble += 1
            if babble > BABBLE_TRACKS:
                continue
        yield path


def noise_row(path: str, origin: str) -> Row:
    """The row of a noise file; babble inherits the licences of all the speech it was summed from."""
    if "/speech/" in path:
        return row(f"noise/{path}", "", "several", "sum of 4-7 talkers of speech/dev", "those of speech/dev")
    package, made_from = origin.split("/", 1)
    return row(f"noise/{path}", "", package, made_from)


def row(path: str, talker: str, package: str, made_from: str, licence: str = "") -> Row:
    """A row of SOURCES.csv; the licence is the talker's or the package's where none is given."""
    licence = licence or next(licence for name, licence in LICENCES.items() if name == talker or package.startswith(name))
    return {"path": path, "talker": talker, "package": package, "made_from": made_from, "licence": licence}


def package_of(session: str) -> str:
    """The Debian package that a session's recordings come from."""
    if session.startswith("klettres"):
        return "klettres-data"
    if session in ("asterisk-en", "asterisk-es"):
        return f"asterisk-core-sounds-{session[-2:]}"
    return re.sub(r"-(g722|wav)$", "", session)


def copy(source: Path, target: Path) -> None:
    """Copy one file, making its folder; the copy is writable by its owner also where the source is not."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


if __name__ == "__main__":
    main()
