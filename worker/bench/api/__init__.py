"""The benchmark of the HTTP endpoint for queries."""
