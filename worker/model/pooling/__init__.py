"""The vector of a text from the states of its tokens."""
