"""The only room, with `training`, that imports torch."""
