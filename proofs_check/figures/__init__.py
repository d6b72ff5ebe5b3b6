"""Plots of theorems: each computes its numbers anew, names what it shows, and is reproduced by
`python -m proofs_check figures NAME`.
"""
