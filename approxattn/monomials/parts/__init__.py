"""Sums split by degree: what the monomials of one degree give of the last column."""
