"""a configuration for a folder of recordings, derived from their number, their length, and the time there is to train

    selfsv init /data/recordings --hours 8 --into mine.yaml
    selfsv init /data/recordings --speakers 200 --into mine.yaml
    snakemake --configfile mine.yaml --cores 16 --rerun-incomplete

Lists the folder, decodes a sample of it, trains for some seconds to see how fast this machine is, and writes a file that names what
differs from config.yaml, each line with its reason. Nothing else is written. Edit the file as you like.
"""

import argparse
import json
import os
import shutil
from pathlib import Path

from selfsv.cli.options import add_json
from selfsv.cli.status import DONE
from selfsv.errors import InputError
from selfsv.prepare.adaptive import as_recipe, experiment_with
from selfsv.prepare.choices import Choice
from selfsv.prepare.listing import enumerate_corpus
from selfsv.prepare.own_configuration import (
    SHORTEST_SECONDS,
    Names,
    configuration,
    cut_choices,
    disk_remarks,
    rejections,
    remarks,
    short_choices,
    values_of,
    video_remarks,
)
from selfsv.prepare.sizes import (
    ALWAYS,
    FACES_COST,
    Speed,
    encoder_choices,
    runtime_choices,
    size_choices,
    speaker_choices,
    time_choices,
    time_remarks,
    video_choices,
)
from selfsv.prepare.survey import Survey, cut_up, survey, without_short
from selfsv.prepare.videos import find_videos
from selfsv.settings.data import Corpus, CutSettings, DecodingSettings
from selfsv.settings.experiment import Experiment
from selfsv.settings.section import validated
from selfsv.writing import write_atomically

LISTINGS = (".csv", ".tsv", ".parquet")
RECORDINGS_OF_A_SPEAKER = 20  # where nobody says how many speakers there are
WIDE, NARROW = 512, 64  # channels
UNKNOWN = Speed(50.0, 150.0)  # utterances per second without a probe: of two cores


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="of recordings, or a listing of them (.csv, .parquet)")
    parser.add_argument("--into", type=Path, default=Path("mine.yaml"), metavar="FILE", help="the file to write (default: mine.yaml)")
    parser.add_argument("--layout", choices=["folder", "voxceleb"], default="folder", help="voxceleb: {speaker}/{session}/{file}")
    parser.add_argument("--speakers", type=int, metavar="S", help="how many speakers there are, roughly")
    parser.add_argument("--hours", type=float, default=1.0, metavar="H", help="time to train in, on this machine (default: 1)")
    parser.add_argument("--trials", type=Path, metavar="FILE", help="lines of `1 enrolment test` about recordings of FOLDER, or of --test")
    parser.add_argument("--test", type=Path, metavar="FOLDER", help="of the recordings that the trials name")
    parser.add_argument("--adaptive", action="store_true", help="for a folder that grows: `recipe: adaptive`, not values for its size now")
    parser.add_argument("--video", action="store_true", help="FOLDER is of videos of talking faces: train rounds on voices and faces")
    parser.add_argument("--probe-seconds", type=float, default=10.0, metavar="T", help="of training, for each stage (default: 10; 0: none)")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, metavar="N", help="CPU threads (default: all cores)")
    parser.add_argument("--replace", action="store_true", help="replace FILE if it exists")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Look, derive, try, write."""
    check(args)
    names = names_of(args)
    corpus = validated(Corpus, names.corpora["train"])
    about_videos = video_remarks(find_videos(corpus, enumerate_corpus(corpus).utterances)) if args.video else []
    found = survey(corpus, DecodingSettings(min_seconds=SHORTEST_SECONDS), args.threads)
    if not (short := short_choices(found)):
        found = without_short(found, DecodingSettings().min_seconds)
    if cut := [] if args.video else cut_choices(found, names):
        found = cut_up(found, CutSettings())
    notes = [
        *about_videos,
        *remarks(found, args.speakers or found.speakers or None, video=args.video),
        *disk_remarks(found, shutil.disk_usage(Path.cwd()).free),
    ]
    trained, speed = derived(args, found, names)
    choices = [*short, *cut, *trained, *time_choices(found.usable, args.hours, speed)]
    if args.adaptive:
        choices = as_recipe(choices, found.usable, speakers_of(args, found))
    notes += time_remarks(found.usable, args.hours, speed)
    sessions = f"{found.sessions:,} session{'s' * (found.sessions != 1)}"
    seen = f"{found.recordings:,} recordings, about {found.hours:.1f} hours, {sessions}"
    command = f"snakemake --configfile {args.into} --cores {args.threads} --rerun-incomplete"
    head = [
        f"Made by `selfsv init` for {seen}, and {args.hours:g} hours of training on the machine that made it.",
        "What is not named here is as in config.yaml. docs/corpus-size.md explains the rules.",
        *(f"Note: {note}." for note in notes),
        *("", f"    {command}"),
    ]
    text = configuration(names, choices, head)
    experiment_with({}, values_of(names, choices))
    write_atomically(args.into, lambda file: file.write(text.encode()))
    if args.json:
        facts = {"file": str(args.into), "recordings": found.recordings, "usable": found.usable, "hours": found.hours, "notes": notes}
        print(json.dumps({**facts, "settings": {choice.key: choice.value for choice in choices}}))
    else:
        print("\n".join([f"{args.into}: settings for {seen}", *(f"note: {note}" for note in notes), f"next: {command}"]))
    return DONE


def check(args: argparse.Namespace) -> None:
    """Refuse what cannot be meant, before anything is looked at.

    Raises:
        InputError: the message names the option.
    """
    if args.into.exists() and not args.replace:
        raise InputError(f"{args.into} exists: name another file with --into, or say that it may go (--replace)")
    for path in filter(None, (args.folder, args.test, args.trials)):
        if not path.exists():
            raise InputError(f"{path} does not exist: correct its name")
    if args.test and not args.trials:
        raise InputError(f"--test {args.test} is of no use without a list of trials: name it with --trials FILE")
    if not 0 < args.hours < float("inf"):
        raise InputError(f"--hours {args.hours:g} is no time to train in: choose a number above 0")
    if args.speakers is not None and args.speakers < 2:
        raise InputError(f"--speakers {args.speakers}: with fewer than two there is nothing to tell apart")


def names_of(args: argparse.Namespace) -> Names:
    """The corpora and the trial list."""
    named = {"train": args.folder, **({"test": args.test} if args.test else {})}
    corpora = {name: {"layout": layout_of(path, args.layout), "path": str(path.resolve())} for name, path in named.items()}
    trials = {"mine": {"corpus": "test" if args.test else "train", "path": str(args.trials.resolve())}} if args.trials else {}
    return Names(args.into.stem, corpora, trials)


def layout_of(path: Path, layout: str) -> str:
    """Of a corpus; a file that could be one is a listing."""
    return "listing" if path.is_file() and path.suffix.lower() in LISTINGS else layout


def speakers_of(args: argparse.Namespace, found: Survey) -> int:
    """Return the number of speakers: as given, as the folders name them, or a guess."""
    guess = found.usable // RECORDINGS_OF_A_SPEAKER if found.cut_from is None else found.recordings  # cut ones have a talker each
    return args.speakers or found.speakers or max(2, guess)


def derived(args: argparse.Namespace, found: Survey, names: Names) -> tuple[list[Choice], Speed]:
    """All settings but those that follow the time, and the speed of a training with them."""
    by_speakers = speaker_choices(found.usable, speakers_of(args, found))
    fixed = [*ALWAYS, *size_choices(found.usable, found.seconds), *by_speakers, *rejections(found)]
    if args.probe_seconds <= 0:
        fixed += video_choices(on_gpu=False) if args.video else []
        return [*fixed, *runtime_choices(args.threads, on_gpu=False), *encoder_choices(NARROW)], UNKNOWN
    # All that trains takes seconds to load.
    from selfsv.device import device_from
    from selfsv.engine.runtime import Runtime
    from selfsv.methods.probe import measured_speed

    device = device_from(args)
    on_gpu = device.type == "cuda"
    runtime = Runtime(device, workers=0, bfloat16=on_gpu, compile=False, checkpoint_seconds=600.0)
    fixed += [*runtime_choices(args.threads, on_gpu=on_gpu), *encoder_choices(WIDE if on_gpu else NARROW)]
    tried = validated(Experiment, values_of(names, fixed))
    speed = measured_speed(tried, found.samples, runtime, args.probe_seconds)
    if args.video:
        return [*fixed, *video_choices(on_gpu=on_gpu)], speed._replace(train=speed.train / FACES_COST)
    return fixed, speed
