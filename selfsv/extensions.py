"""Endings of files with sound: the one list of them. Free of any decoder, so that scoring can import it."""

from collections import Counter

from selfsv.errors import printable

VIDEO_EXTENSIONS = (".3g2", ".3gp", ".3gpp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv")
# Everything that the decoders read and that has an ending of its own; what a file really is, its content decides.
AUDIO_EXTENSIONS = (
    *(".aac", ".ac3", ".aif", ".aifc", ".aiff", ".amr", ".ape", ".asf", ".au", ".awb", ".bwf", ".caf", ".flac", ".m4a", ".m4b"),
    *(".mka", ".mp2", ".mp3", ".nist", ".oga", ".ogg", ".ogv", ".opus", ".rf64", ".snd", ".sph", ".spx", ".tta", ".voc", ".w64"),
    *(".wav", ".wave", ".weba", ".wma", ".wv"),
    *VIDEO_EXTENSIONS,
)

NAMED = 8  # endings in a message


def without_extension(name: str) -> str:
    """`name` without the ending of a file with sound; other text after a dot belongs to the name."""
    stem, dot, extension = name.rpartition(".")
    return stem if dot + extension.lower() in AUDIO_EXTENSIONS else name


def ending(name: str) -> str:
    """The ending of the file called `name`, in lower case and with its dot, or "none"."""
    _, dot, extension = name.rpartition(".")
    return printable(dot + extension.lower()) if dot else "none"


def described(left_out: Counter[str]) -> str:
    """One line on files by their ending: `7 files with other endings (4 .txt, 3 .shn)`."""
    total = left_out.total()
    named = [f"{count:,} {name}" for name, count in left_out.most_common(NAMED)]
    more = [f"{len(left_out) - NAMED} other endings"] if len(left_out) > NAMED else []
    return f"{total:,} {'file' if total == 1 else 'files'} with other endings ({', '.join(named + more)})"
