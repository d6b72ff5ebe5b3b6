"""Attention with exp replaced by a polynomial: output, gradients, states, fitted coefficients."""
