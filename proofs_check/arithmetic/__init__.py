"""Numbers one can trust: balls, counted operations, statistics, test instances."""
