"""Random hyperplane hashing and its collision probabilities."""
