"""The encoder: its configuration, its weights, its number formats, and its layers in PyTorch."""
