"""The command `console`."""
