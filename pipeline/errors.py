"""Errors that a user can act on: shown as one message, without a traceback."""


class InputError(Exception):
    """Something that the user supplied cannot be used; the message names it and says what to do."""


class SettingsError(InputError, ValueError):
    """A setting is unknown, missing, of the wrong type or out of range; the message names it."""


class TrainingError(Exception):
    """A training that cannot go on: a loss that is not finite, or a collapse set to stop the run."""


def printable(text: str, keep: str = "") -> str:
    """`text` with control characters, line breaks and bytes that are no UTF-8 shown as `\\x1b`, `\\n` or `\\udcff`.

    Names come from strangers' disks and archives: written raw, they could steer a terminal or forge a line of a log.

    Args:
        keep: characters that stay as they are.
    """
    return "".join(letter if letter.isprintable() or letter in keep else letter.encode("unicode_escape").decode() for letter in text)
