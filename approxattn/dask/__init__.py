"""Attention of dask arrays: lazy arrays in, a lazy array and a lazy certificate out."""

from approxattn.dask.calls import LazyApproximation, attention

__all__ = ["LazyApproximation", "attention"]
