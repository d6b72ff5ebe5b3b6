"""Methods of low rank over blocks of tokens."""
