"""The estimators: one family a folder. A method is a frozen record with `compute(problem, rng)`."""
