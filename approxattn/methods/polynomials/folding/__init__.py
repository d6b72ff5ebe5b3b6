"""Keys folded into the sums of a state: their checks, certificates and files."""
