"""The training methods of the paper, a file each."""
