"""Sketched attention: attention to combinations of keys, its bounds, and the best that any low rank can do."""
