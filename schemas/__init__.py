"""The wire contract; the current version, re-exported."""
