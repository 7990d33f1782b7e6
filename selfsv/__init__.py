"""Verify voices with a trained model, or train one: the library behind the workflow, and the program `selfsv` (`selfsv --help`).

    import selfsv

    model = selfsv.load("results/demo")
    score = model.compare(model.embed_file("first.wav"), model.embed_file("second.wav"))

To use a model needs none of what training needs.
"""

import importlib
from typing import TYPE_CHECKING, Any

from selfsv.errors import InputError

if TYPE_CHECKING:
    from selfsv.inference.loading import load
    from selfsv.inference.speaker_model import SpeakerModel

__version__ = "0.1.0"
__all__ = ["InputError", "SpeakerModel", "__version__", "load"]

# Imported when they are first asked for: a stage of the workflow that needs one module of the package does not load, and does not
# depend on, what models are used with.
_LAZY = {"load": "selfsv.inference.loading", "SpeakerModel": "selfsv.inference.speaker_model"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'selfsv' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)
