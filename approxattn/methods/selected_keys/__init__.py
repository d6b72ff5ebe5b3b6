"""Exact attention to selected keys, and summary keys for the rest."""
