"""Classification and tagging heads, and what they read of the encoder's states."""
