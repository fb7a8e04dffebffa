"""The backends: how the encoder runs on each kind of hardware."""
