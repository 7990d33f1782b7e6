"""Self-supervised speaker verification: one script per workflow rule, shared code in subpackages."""

__version__ = "0.1.0"
