"""From videos to aligned faces: which videos, frames, detection, tracks, alignment, packing; and faces as input of an encoder."""
