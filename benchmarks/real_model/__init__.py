"""A small language model in NumPy whose attention can be replaced head by head."""
