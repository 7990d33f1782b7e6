"""Exit statuses, for scripts. Python's own for an uncaught exception is 1, which means "no" here: no exception may get that far."""

DONE = 0
NO = 1
ERROR = 2
SOME = 3
UNDECIDED = 4
INTERRUPTED = 128 + 2  # as a shell reports it
BROKEN_PIPE = 128 + 13  # likewise

MEANINGS = {
    DONE: "done; verify: the same speaker; identify: everybody is known",
    NO: "verify: different speakers; identify: somebody is unknown",
    ERROR: "an error of any kind, said in one message on standard error; plan: it does not fit",
    SOME: "done, but some recordings could not be used",
    UNDECIDED: "verify: no decision, as the model has no calibration and there is no threshold",
    INTERRUPTED: "interrupted by Ctrl-C",
    BROKEN_PIPE: "nobody reads the output any more",
}


def explained() -> str:
    """All of them, a line each, for the end of a help text."""
    return "\n".join(["exit status:", *(f"  {status:<4} {meaning}" for status, meaning in MEANINGS.items())])
