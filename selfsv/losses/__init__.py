"""What is minimised, and which utterances are trusted to be part of it: tensors in, tensors out."""
