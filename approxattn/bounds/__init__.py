"""What a certificate may rest on: rounding, perturbation, ranges of scores and values, tails."""
