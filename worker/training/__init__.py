"""How the heads, and the encoder, are trained."""
