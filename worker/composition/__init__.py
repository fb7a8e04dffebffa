"""The composition room: the only place where settings become objects."""
