"""The HTTP endpoint for queries: routes, access, bounds of requests, and its documents."""
