"""A small encoder from random weights, on the user's own texts: what one has without anything that others have learned."""
