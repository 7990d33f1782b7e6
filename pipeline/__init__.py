"""Self-supervised speaker verification: one script per workflow rule, shared code in subpackages."""
