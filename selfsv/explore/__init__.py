"""Look at and listen to what an iteration made of unlabelled recordings: one self-contained page."""
