"""Fetch a trial list, MUSAN or RIRS_NOISES, and write down where it came from.

python -m pipeline.fetch --source musan --output downloads/musan.json
"""

import json

from selfsv.artifacts import write_text
from selfsv.prepare.downloads import SOURCES, fetch
from selfsv.stage import parser, run


def main() -> None:
    """Fetch, write."""
    arguments = parser(__doc__, outputs=("output",), settings=False)
    arguments.add_argument("--source", choices=SOURCES, required=True)
    args = arguments.parse_args()
    source = SOURCES[args.source]
    place = fetch(source, args.output.parent)
    write_text(args.output, json.dumps({"path": str(place), **{name: value for name, value in source._asdict().items() if value}}) + "\n")


if __name__ == "__main__":
    run(main)
