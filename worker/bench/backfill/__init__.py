"""The benchmark of live records while a backfill runs."""
