"""The `gist-stream bench` commands."""
