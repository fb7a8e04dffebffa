"""What exactly once costs, beside at least once."""
