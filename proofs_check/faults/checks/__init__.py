"""The checks that look for faults: claims of the catalogue by their keys, functions that complain,
by names of their own, and tests of the suite, by their places.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator

FUNCTIONS = {
    "exact.long": "calls:exact_long",
    "exact.sums": "calls:exact_sums",
    "calls.float16": "calls:float16",
    "calls.broadcast": "calls:broadcast",
    "kit.exact": "calls:kit_exact",
    "audit.errors": "calls:audit_errors",
    "audit.coverage": "calls:audit_coverage",
    "exponential.bounds": "exponential:bounds",
    "exponential.degrees": "exponential:degrees",
    "polynomial.forward": "polynomials:forward",
    "polynomial.both-ways": "polynomials:both_ways",
    "polynomial.slopes": "polynomials:slopes_of_output",
    "polynomial.rounding": "polynomials:rounding",
    "polynomial.generic": "polynomials:generic",
    "polynomial.state": "polynomials:states",
    "fitted.converges": "polynomials:fitted",
    "fitted.laws": "polynomials:fitted_laws",
    "tensor.value": "polynomials:tensor",
    "hashing.probabilities": "hashing:probabilities",
    "hashing.concentration": "hashing:concentration",
    "hashing.samples": "hashing:yoso_samples",
    "hashing.hadamard": "hashing:hadamard",
    "hashing.met": "hashing:met",
    "hashing.inverse-probabilities": "hashing:inverse_probabilities",
    "hashing.slopes": "hashing_slopes:gradients",
    "sketching.moments": "low_rank:moments",
    "sketching.adjoints": "low_rank:adjoints",
    "low-rank.masks": "low_rank:masks",
    "low-rank.converges": "low_rank:converges",
    "low-rank.prefix": "low_rank:prefix",
    "low-rank.variance": "low_rank:variance",
    "low-rank.row-sample": "low_rank:sampled_rows",
    "low-rank.slopes": "low_rank:gradients",
    "transformer.value": "transformer:value",
    "transformer.slopes": "transformer:gradients",
    "transformer.scores": "transformer:scores",
    "transformer.certificates": "transformer:certificates",
    "transformer.extremes": "transformer_extremes:extremes",
    "gradients.certified": "claims:certified_gradients",
}
"""Module and function of each; of other names those that begin with "tests/" are places of tests,
and the rest are keys of claims about code.
"""


def complaints(name: str) -> Iterator[str]:
    """Carry out one check; it yields what it has to complain about, nothing when all is well."""
    if name.startswith("tests/"):
        from proofs_check.faults.checks.suite import failing_tests

        return failing_tests(name)
    if name not in FUNCTIONS:
        from proofs_check.faults.checks.claims import claim

        return claim(name)
    module, _, function = FUNCTIONS[name].partition(":")
    found: Iterator[str] = getattr(
        importlib.import_module(f"proofs_check.faults.checks.{module}"), function
    )()
    return found
