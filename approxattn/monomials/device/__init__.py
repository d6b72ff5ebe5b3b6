"""The feature sums on an NVIDIA GPU: monomials by our kernels, products by the library."""
