"""Preparation, which runs once: listing, decoding and packing recordings, banks of noise and rooms, faces from videos."""
