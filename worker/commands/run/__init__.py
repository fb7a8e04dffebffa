"""`gist-stream run`: the life of a worker process and of its replicas."""
