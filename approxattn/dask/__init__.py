"""Attention of dask arrays: lazy, for whatever scheduler is active."""

from approxattn.dask.calls import LazyApproximation, LazyGradients, attention, attention_vjp

__all__ = ["LazyApproximation", "LazyGradients", "attention", "attention_vjp"]
