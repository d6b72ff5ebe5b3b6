"""Positive random features of the softmax kernel: draws and variances, sums in log space,
gradients.
"""
