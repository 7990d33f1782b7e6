"""Verify voices with a trained model.

    import selfsv

    model = selfsv.load("results/demo")
    score = model.compare(model.embed_file("first.wav"), model.embed_file("second.wav"))

The package needs none of what training needs; it is also a program, `selfsv` (`selfsv --help`).
"""

from typing import TYPE_CHECKING, Any

from pipeline import __version__
from pipeline.errors import InputError

if TYPE_CHECKING:
    from selfsv.loading import load
    from selfsv.speaker_model import SpeakerModel

__all__ = ["InputError", "SpeakerModel", "__version__", "load"]


def __getattr__(name: str) -> Any:
    """What needs Torch, loaded when it is first asked for: the program must be able to report that Torch cannot be loaded."""
    if name == "load":
        from selfsv.loading import load

        return load
    if name == "SpeakerModel":
        from selfsv.speaker_model import SpeakerModel

        return SpeakerModel
    raise AttributeError(f"module 'selfsv' has no attribute '{name}'")
