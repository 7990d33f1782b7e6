"""Verify voices with a trained model.

    import selfsv

    model = selfsv.load("results/demo")
    score = model.compare(model.embed_file("first.wav"), model.embed_file("second.wav"))

The package needs none of what training needs; it is also a program, `selfsv` (`selfsv --help`).
"""

from pipeline import __version__
from pipeline.errors import InputError
from selfsv.loading import load
from selfsv.speaker_model import SpeakerModel

__all__ = ["InputError", "SpeakerModel", "__version__", "load"]
