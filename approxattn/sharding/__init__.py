"""Attention over blocks of tokens as a graph of tasks, for whoever carries it out."""
