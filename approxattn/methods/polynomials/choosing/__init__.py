"""Which polynomial a call takes."""
