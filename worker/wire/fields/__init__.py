"""Fields of records: their paths and templates, and the names of the fields that arrive. Pure."""
