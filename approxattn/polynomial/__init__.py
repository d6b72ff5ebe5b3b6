"""Attention with exp replaced by a polynomial: the forward pass, gradients, states, fitted coefficients, and what it all costs."""
