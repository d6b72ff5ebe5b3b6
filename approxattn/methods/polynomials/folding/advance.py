"""Causal attention of the next tokens from the state of all earlier ones.

Symbols as in `state`; S is the state of the earlier keys, and the new tokens are i = 1 ... n.

1. Row i sees the earlier keys and the new ones up to i. Its numerator and denominator are those of
   S plus a causal sum over the new tokens alone, and so are the parts of its denominator by degree.
2. A term of the first sum passes through the roundings of a state, one of the second through those
   of the kernel, and both through one more addition. Their sum counts them all.
3. The sum of one token alone is a product with the state after it. Of several the state is what
   the causal sum leaves: they are folded once.
4. Radius and range of the values of all keys up to the last new one hold for every row, and row i
   has seen the earlier keys and i more: the rest is `folding.certificate`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array
from approxattn._problem import Problem, quietly
from approxattn.certificate import Approximation, held_to_promise
from approxattn.methods.polynomials.balance import scaled
from approxattn.methods.polynomials.folding.certificate import state_certificate
from approxattn.methods.polynomials.folding.fold import refuse_large_sums
from approxattn.methods.polynomials.forward import values_and_one
from approxattn.methods.polynomials.shift import shift_keys
from approxattn.monomials.kernel import Kernel, cheapest_kind, key_sum_terms, sum_roundings
from approxattn.monomials.states import read_states_with_parts, states

State = TypeVar("State", bound=Any)
"""A `PolynomialState`."""


@quietly
def advanced(before: State | None, own: State, problem: Problem) -> tuple[Approximation, State]:
    """Return causal attention of the tokens of a problem, and the state that has seen them.

    `own` is the state of these tokens alone, whose sums count for a single one only; `before` that
    of all earlier ones, None if there are none. The output has the dtype computed in.
    """
    chain = key_sum_terms(problem.n_k, problem.d, own.polynomial.degree, causal=problem.n_q > 1)
    own = replace(own, additions=max(own.additions, chain))
    after = own if before is None else before.merge(own)
    p, xp = after.polynomial, problem.xp
    x = scaled(problem.q, after.scale, xp)
    y = shift_keys(problem, after.centre, problem.dtype)
    largest = float(xp.max(_arrays.largest_size(x, xp)))
    refuse_large_sums(p, problem, (largest, after.reach), after.keys, (after.high, after.low))
    degrees = p.moments.degrees if p.moments is not None else ()
    tokens = x, y, values_and_one(problem)
    sums, parts, roundings, new = _sums(before, after, tokens, degrees, problem)
    if new is not None:
        after = replace(after, sums=new if before is None else before.sums + new)
    last = sums[..., -1:]
    denominator = xp.where(last > 0, last, xp.full_like(last, xp.nan))
    certificate = state_certificate(
        replace(after, additions=after.additions + roundings),
        problem,
        largest,
        _arrays.to_float64(denominator[..., 0]),
        _arrays.to_float64(parts),
        counts=(after.keys - own.keys)[..., None] + np.arange(1, problem.n_q + 1),
    )
    value = sums[..., :-1] / denominator
    return Approximation(value=value, certificate=held_to_promise(certificate)), after


def _sums(
    before: Any,
    after: Any,
    tokens: tuple[Array, Array, Array],
    degrees: tuple[int, ...],
    problem: Problem,
) -> tuple[Array, Array, int, Array | None]:
    """Return the sums of scaled queries over all keys they see, the parts of their last column, the
    roundings that a state does not count, and the sums of the new keys, None for a single one,
    which sees the keys of the state after it.
    """
    p, xp, (x, y, values) = after.polynomial, problem.xp, tokens
    if problem.n_q == 1:
        return *read_states_with_parts(x, after.sums, p.degree, xp, degrees), 0, None
    kernel = _kernel(after, problem)
    initial = None if before is None else before.sums
    sums, parts, new = kernel.sums_with_parts(x, y, values, degrees, keep=True, initial=initial)
    new = states(y, values, p.coefficients, xp) if new is None else new
    of_kernel = sum_roundings(kernel.kind, problem.n_k, problem.d, p.degree, True)
    return sums, parts, of_kernel + 1, new


def _kernel(state: Any, problem: Problem) -> Kernel:
    coefficients, n = state.polynomial.coefficients, problem.n_k
    kind = cheapest_kind(n, n, problem.d, len(coefficients) - 1, problem.dv + 1)
    return Kernel(coefficients=coefficients, causal=True, kind=kind, xp=problem.xp)
