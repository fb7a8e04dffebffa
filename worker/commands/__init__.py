"""What the commands of the command line do; `worker.cli` parses and calls them."""
