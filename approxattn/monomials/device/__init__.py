"""The feature sums for arrays that are not NumPy's: blocks of features by the array library, or by
our kernels on an NVIDIA GPU, or all of it on tensor cores.
"""
