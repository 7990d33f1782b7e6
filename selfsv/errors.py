"""Errors that a user can act on: shown as one message, without a traceback."""


class InputError(Exception):
    """Something that the user supplied cannot be used; the message names it and says what to do."""


class SettingsError(InputError, ValueError):
    """A setting is unknown, missing, of the wrong type or out of range; the message names it."""


class TrainingError(Exception):
    """A training that cannot go on: a loss that is not finite, or a collapse set to stop the run."""


class StalledError(Exception):
    """Other processes of a training do not answer. It can be tried again: its state is that of the last save."""


# What libraries say when memory is short; torch's own error for GPUs is known by its name, so that torch need not be imported.
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "cudaMalloc", "CUBLAS_STATUS_ALLOC_FAILED", "std::bad_alloc")


def lasting(error: BaseException) -> str | None:
    """The message of a failure that would repeat itself with the same settings and data; None for all others.

    These are a training's own failures, memory that does not suffice, numbers that are not finite, and what faiss refuses.
    """
    text, first_line = str(error), str(error).partition("\n")[0]
    if isinstance(error, TrainingError):
        return text
    short = isinstance(error, RuntimeError) and any(words in text for words in OUT_OF_MEMORY)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or short:
        return (
            "out of memory: lower the `batch_size` of this training or raise its `encoder_parts` (see its section in the configuration), "
            f"give it more GPUs (`runtime.gpus`) or the job more memory (`mem_mb` of its rule). {first_line}".rstrip()
        )
    if isinstance(error, FloatingPointError):
        return f"{text}: lower the learning rate of the training that its model comes from, or check the audio"
    if isinstance(error, RuntimeError) and "faiss" in text:
        return f"k-means failed in faiss; check the numbers of clusters and of utterances. {first_line}"
    return None


def printable(text: str, keep: str = "") -> str:
    """`text` with control characters, line breaks and bytes that are no UTF-8 shown as `\\x1b`, `\\n` or `\\udcff`.

    Names come from strangers' disks and archives: written raw, they could steer a terminal or forge a line of a log.

    Args:
        keep: characters that stay as they are.
    """
    return "".join(letter if letter.isprintable() or letter in keep else letter.encode("unicode_escape").decode() for letter in text)
