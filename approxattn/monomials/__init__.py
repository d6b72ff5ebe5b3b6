"""Features whose inner products are the powers of q . k."""
