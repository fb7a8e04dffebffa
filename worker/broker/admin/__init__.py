"""Administration requests: topics, offsets, permissions and the versions of the brokers.

An admin client lives inside one call of this package. Other packages pass a `Connection`.
"""
