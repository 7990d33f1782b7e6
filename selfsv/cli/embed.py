"""embeddings of recordings, as a Parquet file

    selfsv embed --model results/demo --output voices.parquet recordings/ more.wav
    ffmpeg -i film.mkv -f wav - | selfsv embed --model results/demo --json -

The file has a row per recording: `utterance` (its path without the extension, below the folder that was named), `seconds`,
`embedding`. With --json and without --output the embeddings themselves are printed.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from selfsv.artifacts import write_table
from selfsv.cli.embedding import Voices, embedded, reasons
from selfsv.cli.options import add_json, add_model, add_vad, detector_from, model_from
from selfsv.cli.outputs import PARQUET, format_of
from selfsv.cli.status import DONE, SOME
from selfsv.errors import InputError
from selfsv.inference.gallery import FINGERPRINT
from selfsv.inference.recordings import named, refuse_same_names
from selfsv.inference.speaker_model import SpeakerModel


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.add_argument("recordings", nargs="+", metavar="PATH", help="files, folders, or - for standard input")
    parser.add_argument("--output", type=Path, metavar="FILE", help="the Parquet file to write (.parquet)")
    add_model(parser)
    add_vad(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Embed and write."""
    if args.output is None and not args.json:
        raise InputError("say where to write with --output FILE, or print the embeddings with --json")
    if args.output is not None:
        format_of(args.output, PARQUET)
    model, detector = model_from(args), detector_from(args)
    with named(args.recordings) as recordings:
        refuse_same_names(recordings)
        voices = embedded(model, recordings, args.threads, detector)
    if args.output is not None:
        write_table(args.output, _table(model, voices))
    if args.json:
        print(json.dumps(_summary(voices, with_embeddings=args.output is None)))
    else:
        left_out = f", {len(voices.rejected):,} left out" if voices.rejected else ""
        print(f"{len(voices.recordings):,} recordings, {sum(voices.seconds) / 60:.1f} minutes{left_out}: {args.output}")
    return SOME if voices.rejected else DONE


def _table(model: SpeakerModel, voices: Voices) -> pa.Table:
    columns = {
        "utterance": pa.array([recording.name for recording in voices.recordings], pa.string()),
        "seconds": pa.array(voices.seconds, pa.float64()),
        "embedding": pa.FixedSizeListArray.from_arrays(pa.array(voices.embeddings.reshape(-1)), voices.embeddings.shape[1]),
    }
    return pa.table(columns).replace_schema_metadata({FINGERPRINT: model.fingerprint.encode()})


def _summary(voices: Voices, with_embeddings: bool) -> dict[str, Any]:
    rows: list[dict[str, Any]] = [
        {"utterance": recording.name, "seconds": seconds} for recording, seconds in zip(voices.recordings, voices.seconds, strict=True)
    ]
    if with_embeddings:
        for row, embedding in zip(rows, voices.embeddings, strict=True):
            row["embedding"] = embedding.tolist()
    return {"embedded": rows, "rejected": reasons(voices.rejected)}
