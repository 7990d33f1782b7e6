"""Trials, scores, score normalisation and error rates."""
