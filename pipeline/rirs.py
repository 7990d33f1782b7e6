"""Make the bank of room impulse responses: from a RIRS_NOISES tree, or of simulated rooms.

python -m pipeline.rirs --settings '{"path": "demo/noise/rirs"}' --seed 1 --rirs data/rirs.pt
python -m pipeline.rirs --settings '{"simulated_rooms": 2000}' --seed 1 --threads 2 --rirs data/rirs.pt
"""

import logging

import numpy as np

from selfsv.data.banks import RIR_KINDS, bank_of, save_bank
from selfsv.errors import InputError
from selfsv.prepare.recorded import recorded_responses
from selfsv.prepare.synthesis import finished_response, simulated_responses
from selfsv.progress import progress
from selfsv.settings.data import RirSettings
from selfsv.stage import parser, run

LOG = logging.getLogger("selfsv")


def main() -> None:
    """Parse, read or simulate, write."""
    arguments = parser(__doc__, outputs=("rirs",))
    arguments.add_argument("--seed", type=int, required=True)
    arguments.add_argument("--threads", type=int, default=1, help="the result is the same for any number")
    args = arguments.parse_args()
    settings = RirSettings.read(args.settings)
    if settings.path:
        responses = recorded_responses(settings.path, settings.max_responses, np.random.default_rng(args.seed), args.threads)
    else:
        responses = simulated_responses(settings.simulated_rooms, settings.seconds, args.seed, args.threads)
    total = None if settings.path else settings.simulated_rooms
    finished = (("room", finished_response(response, settings.seconds)) for response in progress(responses, total, "rooms", "response"))
    bank = bank_of(finished, RIR_KINDS)
    if not len(bank):
        raise InputError(f"none of the files in {settings.path} can be used as an impulse response: correct `rirs.path`, or leave it empty")
    save_bank(args.rirs, bank)
    LOG.info("%s", bank.counts())


if __name__ == "__main__":
    run(main)
