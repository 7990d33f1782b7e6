"""The loop that trains any method, and what it needs: checkpoints, processes, schedules, history."""
