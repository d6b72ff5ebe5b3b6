"""Statements as data: one folder a source, each with its `THEOREMS`."""
