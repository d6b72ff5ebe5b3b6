"""Sets of monomials that follow the data: high degrees where the scores are large."""
