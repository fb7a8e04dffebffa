"""Values in the format of a schema registry: a zero byte, the id of the schema, and the data. Pure."""
