"""Polynomials for exp on an interval."""
