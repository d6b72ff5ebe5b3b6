"""Selected keys and summaries over keys that pass block by block."""
