"""What the states of all methods share: how keys come in, and how files are read."""
