"""The candidates of the engine benchmark; each runs in a process of its own."""
