"""
A randomised range finder on a real attention matrix
====================================================

A randomised range finder (Halko, Martinsson and Tropp 2011, HMT) multiplies a matrix by r + 5
random columns and keeps what they span: a nearly best approximation of rank r for the price of a
few products. Three of their bounds, on the softmax matrix of a real head.
"""

from proofs_check.figures import low_rank
from proofs_check.figures.output.show import show

show(low_rank.range_finder())
