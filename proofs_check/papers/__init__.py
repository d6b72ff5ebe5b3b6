"""One file per paper: its statements, readings, experiments and mutants, as data."""
