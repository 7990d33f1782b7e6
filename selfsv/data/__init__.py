"""What a training reads: the packed corpus, crops, augmentation, features, batches."""
