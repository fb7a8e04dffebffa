"""How heads and encoders learn: tasks, losses, sampling and phases."""
