"""What can be chosen for the changes of the consumer group. Imports nothing, because the command line reads it for its help."""

#: The kinds of change; `quiet` changes nothing, and `rolling` restarts each replica, one after the other.
KINDS = ("quiet", "join", "leave", "kill", "rolling")
#: The protocols of the group.
PROTOCOLS = ("classic", "consumer")
