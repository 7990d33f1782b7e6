"""Make the bank of additive noise: from a MUSAN tree, or synthesised, with babble of the training corpus.

    python -m pipeline.noise --settings '{"path": "demo/noise/musan"}' --seed 1 --noise data/noise.pt
    python -m pipeline.noise --settings '{}' --seed 1 --manifest data/train/manifest.parquet \\
        --audio data/train/audio-0.pt data/train/audio-1.pt --noise data/noise.pt
"""

import logging
from argparse import Namespace
from pathlib import Path

from selfsv.data.banks import NOISE_KINDS, bank_of, save_bank
from selfsv.data.corpus import PackedCorpus
from selfsv.errors import InputError
from selfsv.prepare.noise_bank import Source, corpus_source, noise_segments, recorded_sources, synthetic_sources
from selfsv.progress import progress
from selfsv.settings.data import NoiseSettings
from selfsv.stage import parser, run

LOG = logging.getLogger("selfsv")


def main() -> None:
    """Parse, gather, write."""
    arguments = parser(__doc__, outputs=("noise",))
    arguments.add_argument("--seed", type=int, required=True)
    arguments.add_argument("--manifest", type=Path, help="the training corpus's manifest: its voices become babble where `path` is empty")
    arguments.add_argument("--audio", type=Path, nargs="*", default=[], help="its shards, in the order of their numbers")
    arguments.add_argument("--threads", type=int, default=1, help="the result is the same for any number")
    args = arguments.parse_args()
    settings = NoiseSettings.read(args.settings)
    segments = noise_segments(gather(settings, args), settings, args.seed, args.threads)
    bank = bank_of(progress(segments, None, "noise bank", "segment"), NOISE_KINDS)
    if not len(bank):
        raise InputError(f"nothing in {settings.path} can be used as noise: point `noise.path` at a MUSAN tree, or leave it empty")
    save_bank(args.noise, bank)
    LOG.info("%s", bank.counts())


def gather(settings: NoiseSettings, args: Namespace) -> dict[str, Source]:
    """The sources that the settings ask for; speech comes from the training corpus where the tree has none."""
    sources = recorded_sources(settings, args.seed, args.threads) if settings.path else synthetic_sources(settings, args.seed)
    if "speech" not in sources and args.manifest:
        sources["speech"] = corpus_source(PackedCorpus(args.manifest, args.audio))
    if not settings.path and "speech" not in sources:
        raise InputError("`noise.path` is empty: babble needs --manifest and --audio of the training corpus")
    return sources


if __name__ == "__main__":
    run(main)
