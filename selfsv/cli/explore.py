"""a page to look at and listen to what an iteration made of the recordings

    selfsv explore results/mine --iteration 2
    selfsv explore results/mine --utterances-per-cluster 8 --megabytes 50 --output mine.html

One HTML file, which loads nothing from elsewhere: a map of the training corpus's embeddings, its clusters, the utterances that changed
cluster, and those whose pseudo label the loss-gate distrusts. Utterances are played from the packed corpus: the original recordings
are not needed. No speaker label is read.

The map is made by t-SNE where openTSNE is installed (pip install 'selfsv[explore]'), else by PCA.
"""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from selfsv.artifacts import write_text
from selfsv.cli.options import add_json
from selfsv.cli.outputs import format_of
from selfsv.cli.status import DONE

if TYPE_CHECKING:
    from selfsv.explore.page import Page


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.add_argument("folder", type=Path, metavar="EXPERIMENT", help="the experiment's folder, results/NAME")
    parser.add_argument("--iteration", type=int, metavar="N", help="0: stage I; 1, 2, …: rounds (default: the last that was clustered)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="an .html file (default: EXPERIMENT/explore_iter_N.html)")
    parser.add_argument(
        "--utterances-per-cluster", type=_count, default=5, metavar="N", help="to play: nearest to the centroid, farthest, and between (5)"
    )
    parser.add_argument(
        "--utterances-per-list", type=_count, default=50, metavar="N", help="to play, of those that changed and those distrusted (50)"
    )
    parser.add_argument("--megabytes", type=_positive, default=20.0, metavar="MB", help="bound on the page's size (20)")
    parser.add_argument("--points", type=_points, default=20_000, metavar="N", help="utterances on the map; more are sampled (20000)")
    parser.add_argument("--map", choices=["tsne", "pca"], help="default: t-SNE where openTSNE is installed")
    parser.add_argument("--codec", choices=["opus", "wav"], default="opus", help="wav: for browsers without Ogg Opus; 8 times the size")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Read, draw, write, and report what the page holds."""
    from selfsv.explore.iteration import read_iteration  # scikit-learn and Torch take seconds to load
    from selfsv.explore.page import Options, render

    if args.output is not None:
        format_of(args.output, {".html": "a page"})
    iteration = read_iteration(args.folder, args.iteration)
    options = Options(args.utterances_per_cluster, args.utterances_per_list, args.megabytes, args.points, args.map, args.codec)
    page = render(iteration, options)
    output = args.output or args.folder / f"explore_iter_{iteration.number}.html"
    write_text(output, page.html)
    print(json.dumps({"output": str(output), **page.summary()}) if args.json else said(output, page))
    return DONE


def said(output: Path, page: "Page") -> str:
    """Sentences on the page."""
    kind = "t-SNE" if page.map == "tsne" else "PCA"
    lines = [
        f"{output}: {len(page.html.encode()) / 1e6:.1f} MB",
        f"{page.points:,} of {page.utterances:,} utterances on the map ({kind}), {page.clusters:,} clusters, {page.playable:,} sounds",
    ]
    if page.left_out:
        lines.append(f"{page.left_out:,} sounds are left out: the page would be larger than --megabytes")
    return "\n".join(lines)


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("0 or more")
    return value


def _points(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("1 or more")
    return value


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError("more than 0")
    return value
