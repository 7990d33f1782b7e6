"""Errors that a user can act on: shown as one message, without a traceback."""


class InputError(Exception):
    """Something that the user supplied cannot be used; the message names it and says what to do."""


class SettingsError(InputError, ValueError):
    """A setting is unknown, missing, of the wrong type or out of range; the message names it."""


class TrainingError(Exception):
    """A training that cannot go on: a loss that is not finite, or a collapse set to stop the run."""
