"""Polynomial attention over blocks of tokens."""
