"""The file that a command writes: its ending says in which format, before anything is computed."""

from pathlib import Path

from selfsv.errors import InputError

PARQUET = {".parquet": "Parquet"}


def format_of(path: Path, formats: dict[str, str]) -> str:
    """The ending of `path`, in lower case, which names its format.

    Args:
        formats: the formats that can be written, by ending.

    Raises:
        InputError: it is another ending, or there is a folder of this name.
    """
    ending = path.suffix.lower()
    if ending not in formats:
        known = " or ".join(f"{name} ({title})" for name, title in formats.items())
        problem = f"'{ending}' is no format that can be written" if ending else "the name is without an ending"
        raise InputError(f"{path}: {problem}: end it in {known}")
    if path.is_dir():
        raise InputError(f"{path} is a folder: name a file")
    return ending
