"""Coefficients fitted to sampled rows of the data at hand."""
