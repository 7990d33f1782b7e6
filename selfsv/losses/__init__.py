"""Losses, and the gate that chooses the utterances they are computed on: tensors in, tensors out."""
