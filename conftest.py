"""Doctests of the front ends are collected where their libraries are installed."""

from importlib.util import find_spec

_NEEDS = {"approxattn/jax/*": "jax", "approxattn/torch/*": "transformers"}

collect_ignore_glob = [pattern for pattern, library in _NEEDS.items() if find_spec(library) is None]
