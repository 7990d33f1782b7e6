"""Inputs of a training: the packed corpus, crops, augmentation, features, batches."""
