"""The estimators: one file a method. A method is a frozen record with `compute(problem, rng)`."""
