"""Rule `pretrain`: stage I, from packed audio to the encoder of `iter_0`."""

from pathlib import Path

from selfsv.engine.history import write_history
from selfsv.engine.loop import fit
from selfsv.engine.runtime import runtime_from
from selfsv.methods.inputs import followers_of, open_inputs, pretraining_state, training_parser
from selfsv.methods.pretraining import Pretraining
from selfsv.models.model_file import save_model
from selfsv.settings.jobs import PretrainJob
from selfsv.stage import run


def main() -> None:
    """Train, then write the history and, last, the model."""
    arguments = training_parser(__doc__, outputs=("history", "model"))
    arguments.add_argument("--shared-start", type=Path, metavar="FOLDER", help="of states before the first clustering, for all trainings")
    args = arguments.parse_args()
    job, runtime = PretrainJob.read(args.settings), runtime_from(args)
    inputs = open_inputs(args, job, runtime)
    method = Pretraining(job, inputs, runtime)
    state = pretraining_state(args, job)
    provenance = {"stage": "pretrain", "iteration": 0, "seed": job.seed, "config_hash": state.key, **runtime.provenance()}

    def save(path: Path, epochs: int) -> None:
        save_model(path, job.encoder, job.features, method.objective.encoder.state_dict(), epochs=epochs, **provenance)

    history = fit(method, len(inputs.corpus), runtime, state, followers_of(args, job, state, save), args.attempt)
    if not runtime.group.first:
        return
    write_history(args.history, history)
    save_model(args.model, job.encoder, job.features, method.exported(), **provenance)


if __name__ == "__main__":
    run(main)
