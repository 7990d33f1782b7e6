"""A GPU whose memory does not suffice."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from selfsv.engine.method import Method
from selfsv.engine.runtime import Runtime
from selfsv.errors import TrainingError


@contextmanager
def naming_what_is_large(method: Method, runtime: Runtime) -> Iterator[None]:
    """A GPU's memory that does not suffice is an error that says what to lower.

    Raises:
        TrainingError: it did not.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        size, processes = method.batch_size, runtime.group.size
        share = (
            f"{size} utterances" if processes == 1 else f"{size} utterances, of which each of {processes} GPUs has {-(-size // processes)}"
        )
        raise TrainingError(
            f"{method.name}: out of memory of the GPU with batches of {share}. Of this training's section in the configuration, double "
            f"`encoder_parts` or halve `batch_size`; or raise `runtime.gpus`. {str(error).partition(chr(10))[0]}"
        ) from error
