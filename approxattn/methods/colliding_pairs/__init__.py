"""Attention over the pairs of a query and a key whose hash codes agree."""
