"""The wire contract: bytes to items, predictions to messages, and dead letters. Pure functions."""
