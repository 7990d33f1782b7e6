"""Waveforms: reading, crops, augmentation and features."""
