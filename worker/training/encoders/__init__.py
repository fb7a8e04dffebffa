"""A smaller encoder that says nearly what a larger one says: fewer layers, learned from its vectors and token states."""
