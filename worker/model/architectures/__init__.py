"""Families of published encoders: each turns a `config.json` and the names of published tensors into an `EncoderConfig`."""
