"""The commands that inspect data, train, evaluate and compress models."""
