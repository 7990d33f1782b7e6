"""Failures in one line each, also those that nobody foresaw."""

import traceback
from pathlib import Path

OUT_OF_MEMORY = ("alloc", "out of memory")  # in what Torch, whose errors of the allocator are RuntimeErrors, says
NO_MEMORY = "out of memory: decode fewer recordings at once (--threads 1), use a smaller model, or cut the recording into parts"


def reason_of(error: BaseException) -> str:
    """A category, a colon, the particulars; of an error that nobody foresaw also the line of code that it came from."""
    text = str(error).partition("\n")[0]
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(sign in text.lower() for sign in OUT_OF_MEMORY)):
        return NO_MEMORY
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"failed: {type(error).__name__}: {text}{place}"
