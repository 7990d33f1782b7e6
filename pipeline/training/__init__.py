"""The training loops and what they share: batches, schedules, checkpoints, history."""
