"""Model outputs to plain values: vectors, labels and entities."""
