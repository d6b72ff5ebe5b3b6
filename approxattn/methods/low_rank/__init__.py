"""Attention to fewer keys: combinations, landmarks and block means, with their bounds."""
