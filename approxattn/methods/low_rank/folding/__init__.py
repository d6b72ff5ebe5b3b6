"""Means of blocks that grow with the keys: their state, and its file."""
