"""The feature sums on an NVIDIA GPU: monomials by our kernels and products by the library, or both
on tensor cores.
"""
