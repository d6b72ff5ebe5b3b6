"""What is claimed and what was found: experiments, theorems, verdicts, and their written form."""
