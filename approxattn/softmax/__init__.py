"""Exact attention: blocks of scores, streaming, with a bias on the scores, for a few rows."""
