"""make speakers known: add their recordings to a gallery

    selfsv enroll --model results/demo --gallery team.parquet --speaker Ada ada-1.wav ada-2.wav
    selfsv enroll --model results/demo --gallery team.parquet --folder recordings/    # a folder in it for each speaker
    selfsv enroll --model results/demo --gallery team.parquet --list
    selfsv enroll --model results/demo --gallery team.parquet --remove Ada --recording ada-2    # without --recording: all of Ada's

A gallery is a Parquet file with a row per recording. Recordings add up over several calls, whatever
their names: what tells them apart is their content, so the same file again, or a copy of it, changes nothing.
"""

import argparse
import json
import logging
import os
from collections import Counter
from pathlib import Path

from selfsv.cli.embedding import embedded, reasons
from selfsv.cli.options import add_json, add_model, add_vad, detector_from, model_from
from selfsv.cli.outputs import PARQUET, format_of
from selfsv.cli.status import DONE, SOME
from selfsv.errors import InputError, printable
from selfsv.extensions import AUDIO_EXTENSIONS
from selfsv.inference.gallery import Gallery
from selfsv.inference.recordings import content_of, named
from selfsv.inference.speaker_model import SpeakerModel
from selfsv.prepare.speech_detection import SpeechDetector

LOG = logging.getLogger("selfsv")
CHANGES = {"added": "added", "unchanged": "known already", "replaced": "replaced", "removed": "removed"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.add_argument("recordings", nargs="*", metavar="PATH", help="the speaker's recordings: files, folders, or -")
    parser.add_argument("--gallery", type=Path, required=True, metavar="FILE", help="the Parquet file (.parquet); made where there is none")
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--speaker", metavar="NAME", help="whose recordings these are")
    who.add_argument("--folder", type=Path, metavar="DIR", help="enroll everybody who has a folder in this one")
    who.add_argument("--remove", metavar="NAME", help="forget a speaker, or with --recording one of the speaker's recordings")
    who.add_argument("--list", action="store_true", help="only say whose recordings are in the gallery")
    parser.add_argument("--recording", metavar="NAME", help="which recording --remove forgets, as --list calls it")
    add_model(parser)
    add_vad(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Change the gallery, say who is in it."""
    if bool(args.recordings) != (args.speaker is not None):
        raise InputError("--speaker NAME goes with that speaker's recordings, --folder, --remove and --list go without any")
    if args.recording is not None and args.remove is None:
        raise InputError("--recording names what --remove SPEAKER is to forget: give both")
    if args.speaker is not None and not args.speaker.strip():
        raise InputError("a speaker needs a name: --speaker NAME")
    if not args.gallery.exists():
        format_of(args.gallery, PARQUET)
    model, detector = model_from(args), detector_from(args)
    gallery = Gallery.open(args.gallery, model) if args.gallery.exists() or args.remove or args.list else Gallery(model)
    if args.list:
        print(json.dumps({"speakers": _listed(gallery)}) if args.json else _listed_text(gallery))
        return DONE
    rejected: list[dict[str, str]] = []
    changes = Counter(added=0, unchanged=0, replaced=0, removed=0)
    if args.remove:
        changes["removed"] = gallery.remove(args.remove, args.recording)
    else:
        for speaker, paths in [(args.speaker, args.recordings)] if args.speaker else _folders(args.folder):
            rejected += _enrolled(gallery, model, speaker, paths, args.threads, detector, changes)
    gallery.save(args.gallery)
    if args.json:
        print(json.dumps({"speakers": gallery.counts(), **changes, "rejected": rejected}))
    else:
        print(", ".join(f"{count} {CHANGES[name]}" for name, count in changes.items() if count))
        print(f"{args.gallery} knows {len(gallery.speakers)} speakers: " + ", ".join(f"{k} ({v})" for k, v in gallery.counts().items()))
    return SOME if rejected else DONE


def _listed(gallery: Gallery) -> dict[str, list[str]]:
    return {speaker: gallery.recordings(speaker) for speaker in gallery.speakers}


def _listed_text(gallery: Gallery) -> str:
    lines = [f"{speaker}: {', '.join(names)}" for speaker, names in _listed(gallery).items()]
    return "\n".join(map(printable, lines)) or "nobody is enrolled"


def _folders(folder: Path) -> list[tuple[str, list[str]]]:
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder: it should hold a folder for each speaker")
    entries = list(os.scandir(folder))
    names = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    if nobodys := sum(not entry.is_dir() and entry.name.lower().endswith(AUDIO_EXTENSIONS) for entry in entries):
        LOG.warning("selfsv: %s: %s recordings are left out, as they are in no speaker's folder", printable(str(folder)), f"{nobodys:,}")
    if not names:
        raise InputError(f"{folder} holds no folders: it should hold one for each speaker")
    return [(name, [str(folder / name)]) for name in names]


def _enrolled(
    gallery: Gallery,
    model: SpeakerModel,
    speaker: str,
    paths: list[str],
    threads: int,
    detector: SpeechDetector | None,
    changes: Counter[str],
) -> list[dict[str, str]]:
    """Add a speaker's recordings and count what that changes; what could not be used."""
    with named(paths) as recordings:
        voices = embedded(model, recordings, threads, detector)
        contents = [content_of(recording) for recording in voices.recordings]
    for recording, content, embedding, seconds in zip(voices.recordings, contents, voices.embeddings, voices.seconds, strict=True):
        changes[gallery.add(speaker, recording.name, content, embedding, seconds)] += 1
    return reasons(voices.rejected)
