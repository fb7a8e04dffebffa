"""`gist-stream demo`."""
