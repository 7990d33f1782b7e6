"""Pseudo labels from embeddings, and how good they are where speakers are known."""
