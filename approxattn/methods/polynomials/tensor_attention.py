"""Tensor attention: every query weighs all pairs of keys, and still the cost is linear in their
number.

Symbols. Keys k1_j, values v1_j, j <= n_1, and k2_l, v2_l, l <= n_2; s_{i,jl} = beta sum_a q_ia
k1_ja k2_la; phi and w as in `monomials`, with r = C(d + g, g) monomials of degree at most g; o is
the product entry by entry; P(s) = sum_t c_t s^t stands for exp(s).

Alman & Song, "How to Capture Higher-order Correlations? Generalizing Matrix Softmax Attention to
Kronecker Computation" (ICLR 2024; wording unverified): out_i = sum_{jl} f_{i,jl} (v1_j o v2_l) with
f_{i,jl} proportional to exp(s_{i,jl}) and beta = 1/d.

Sums (proved here).

1. (sum_a q_a x_a y_a)^t = sum_{|alpha|=t} (t!/alpha!) q^alpha x^alpha y^alpha.
2. So sum_{jl} P(s_{i,jl}) (v1_j o v2_l) = phi(beta q_i)^T diag(w) [(phi(K1)^T V1) o (phi(K2)^T
   V2)].
3. That costs O((n_q + n_1 + n_2) r dv); the pairs would cost n_q n_1 n_2 (d + dv).

Error.

1. |s_{i,jl}| <= B_i = beta |q_i|_2 max_j |k1_j|_4 max_l |k2_l|_4, by Cauchy-Schwarz twice.
2. sum_a |q_a x_a y_a| obeys the same bound.
3. T1 or T2 bound the distance of the weights. The values are v1_jc v2_lc, whose range is spanned by
   the products of the ends of both ranges.

Rounding (proved here). As in `forward`, with A_i = sum_t |c_t| B_i^t for each of n_1 n_2 pairs.

1. K counts 3 g for the monomials, 2 g for beta q, and t_1 and t_2 for the sums over keys with their
   products. It counts 4 for multiplicities put in and divided out, 3 for the weight, 1 for the
   product of both states, and r for the last sum.
2. 24 + 5 g + t_1 + t_2 + r is more.

Underflow (proved here). Let entries be at most M >= 1, weights at most omega, values at most 1, and
w the smallest normal number.

1. A feature loses at most (g + 1) w in a sum of either side, g w for the query and 4 w in products.
2. Each loss grows by at most omega (M_q M_1 M_2)^g, for each pair; doubled for what losses lose in
   turn.
"""

from __future__ import annotations

import math

import numpy as np

from approxattn import _arrays
from approxattn._arguments import check_choice, check_fraction
from approxattn._arrays import Array, HostArray
from approxattn._arrays.entry import public
from approxattn._problem import Problem, pose, quietly
from approxattn.bounds.perturbation import output_bound, tv_from_log_ratio
from approxattn.bounds.rounding import gamma, up, whole_power
from approxattn.bounds.scores import query_norms, row_norms, spread_of, value_spread
from approxattn.certificate import SOFTMAX, Approximation, Certificate, held_to_promise
from approxattn.exponential import ExpPolynomial, degree_for, exp_polynomial
from approxattn.exponential.degree import BASES, check_degree
from approxattn.methods.polynomials.balance import scaled
from approxattn.methods.polynomials.folding.fold import announce
from approxattn.methods.polynomials.moment_error import Parts, moment_error, theorem_for
from approxattn.methods.polynomials.row_rounding import (
    lost_denominators,
    row_rounding,
    weight_noise,
)
from approxattn.monomials.contraction import weights
from approxattn.monomials.index import rank
from approxattn.monomials.kernel import key_sum_terms
from approxattn.monomials.states import read_states_with_parts, states

TENSOR = SOFTMAX + " over pairs of keys"


@public()
@quietly
def tensor_attention(
    q: Array,
    k1: Array,
    k2: Array,
    v1: Array,
    v2: Array,
    *,
    degree: int | None = None,
    tolerance: float | None = None,
    basis: str = "minimax",
    scale: float | None = None,
) -> Approximation:
    """Compute attention over all pairs of keys with exp replaced by a polynomial, at a cost linear
    in the number of keys.

    Parameters
    ----------
    q : array, shape (..., n_q, d)
        Queries.
    k1, v1 : array, shapes (..., n_1, d), (..., n_1, dv)
        First keys and values.
    k2, v2 : array, shapes (..., n_2, d), (..., n_2, dv)
        Second keys and values. One library, device and dtype for all; leading axes must be equal.
    degree, tolerance
        As for `Polynomial`, one of the two; the tolerance is a fraction of the largest range of
        v1_jc v2_lc over pairs.
    basis : {"minimax", "chebyshev", "taylor"}
        As for `Polynomial`.
    scale : float, optional
        beta; None means 1/d, as in the paper.

    Returns
    -------
    Approximation
        `value`, shape (..., n_q, dv), in the dtype computed in (float32 for half precisions), and
        `certificate`.

    Raises
    ------
    TypeError, ValueError
        What `attention` and `Polynomial` refuse; inputs so large that the sums could overflow.

    Examples
    --------
    >>> import numpy as np, approxattn as aa
    >>> q, k1, k2, v1, v2 = np.random.default_rng(0).uniform(-1, 1, (5, 50, 4))
    >>> out = aa.tensor_attention(q, k1, k2, v1, v2, degree=4)
    >>> scores = np.einsum("ia,ja,la->ijl", q, k1, k2) / 4
    >>> f = np.exp(scores) / np.exp(scores).sum(axis=(1, 2), keepdims=True)
    >>> exact = np.einsum("ijl,jc,lc->ic", f, v1, v2)
    >>> bool((abs(out.value - exact).max(axis=1) <= out.certificate.rows).all())
    True
    """
    if (degree is None) == (tolerance is None):
        msg = f"degree(={degree}), tolerance(={tolerance}): give exactly one of them"
        raise ValueError(msg)
    check_choice("basis", basis, BASES)
    if tolerance is not None:
        tolerance = check_fraction("tolerance", tolerance)
    elif degree is not None:
        check_degree(degree, basis)
    xp = _arrays.namespace(q=q, k1=k1, k2=k2, v1=v1, v2=v2)
    beta = 1.0 / q.shape[-1] if scale is None and q.ndim and q.shape[-1] else scale
    first, second = pose(q, k1, v1, scale=beta), pose(q, k2, v2, scale=beta)
    _check_sides(first, second)
    shape = (*first.batch, first.n_q, first.dv)
    if math.prod(shape) == 0:
        nothing = Certificate(rows=np.zeros(shape[:-1]), target=TENSOR, theorem="ours.tanh")
        value = xp.zeros(shape, dtype=first.q.dtype, device=_arrays.device(first.q))
        return Approximation(value=value, certificate=nothing)
    bound = up(beta_bound(first, second))
    half_range = float(np.max(bound))
    chosen = degree_for(half_range, tolerance, basis) if tolerance is not None else degree or 0
    announce(first, chosen, sides=2)
    return _evaluate(first, second, exp_polynomial(chosen, half_range, basis), bound, tolerance)


def beta_bound(first: Problem, second: Problem) -> HostArray:
    """Return B_i of the module, shape (..., n_q)."""
    sides = []
    for problem in (first, second):
        top = problem.xp.max(problem.xp.abs(problem.k), axis=-1, keepdims=True)
        safe = problem.xp.where(top > 0, top, problem.xp.ones_like(top))
        # |k|_4 = top |(k / top)^2|_2^(1/2), and row_norms is rounded up; squares round once more,
        # divisions once
        squares = row_norms((problem.k / safe) ** 2, problem.xp) * (1 + 4 * problem.u)
        lengths = _arrays.to_host(top[..., 0]).astype(np.float64) * np.sqrt(squares)
        sides.append(np.max(up(lengths), axis=-1))
    return np.asarray(
        up(first.scale * query_norms(first) * (sides[0] * sides[1])[..., None] * (1 + 4 * first.u))
    )


def _check_sides(first: Problem, second: Problem) -> None:
    if first.batch != second.batch:
        msg = f"k1 and k2 have leading axes {first.batch} and {second.batch}: make them equal"
        raise ValueError(msg)
    if first.dv != second.dv:
        msg = (
            f"v1 and v2 have widths {first.dv} and {second.dv}: they are multiplied entry by entry "
            "and must be equal"
        )
        raise ValueError(msg)


def _evaluate(
    first: Problem,
    second: Problem,
    polynomial: ExpPolynomial,
    bound: HostArray,
    tolerance: float | None,
) -> Approximation:
    xp, g, d = first.xp, polynomial.degree, first.d
    ones = (1.0,) * (g + 1)
    x = scaled(first.q, first.scale, xp)
    entries = [float(xp.max(_arrays.largest_size(a, xp))) for a in (x, first.k, second.k)]
    tops = [max(1.0, float(np.max(value_spread(p).top))) for p in (first, second)]
    pairs = first.n_k * second.n_k
    largest = _largest_term(polynomial, d, entries)
    if not largest * pairs * tops[0] * tops[1] < _arrays.largest(first.dtype) / 16:
        msg = (
            f"entries of up to {entries[0]:.3g} (scaled q), {entries[1]:.3g} (k1), "
            f"{entries[2]:.3g} (k2) can make sums of degree {g} overflow {first.dtype}: lower the "
            "degree, rescale the input, or use float64"
        )
        raise ValueError(msg)
    left, right = (_plain_states(p, ones) for p in (first, second))
    w = xp.astype(
        _arrays.from_host(np.array(weights(polynomial.coefficients, d))[:, None], x), x.dtype
    )
    degrees = polynomial.moments.degrees if polynomial.moments is not None else ()
    sums, parts = read_states_with_parts(x, w * (left * right), g, xp, degrees)
    denominator = xp.where(sums[..., -1:] > 0, sums[..., -1:], xp.full_like(sums[..., -1:], xp.nan))
    host = _arrays.to_host(denominator[..., 0]).astype(np.float64)
    on_host = host, _arrays.to_float64(parts)
    certificate = _certificate(first, second, polynomial, bound, on_host, largest, tolerance)
    return Approximation(value=sums[..., :-1] / denominator, certificate=certificate)


def _plain_states(problem: Problem, ones: tuple[float, ...]) -> Array:
    """Return phi(K)^T [V, 1] without weights: the multiplicities that `states` puts in are divided
    out again, two roundings more.
    """
    xp = problem.xp
    values = xp.concat([problem.v, xp.ones_like(problem.k[..., :1])], axis=-1)
    multiplicity = _arrays.from_host(np.array(weights(ones, problem.d))[:, None], problem.k)
    return states(problem.k, values, ones, xp) / xp.astype(multiplicity, problem.k.dtype)


def _largest_term(polynomial: ExpPolynomial, d: int, entries: list[float]) -> float:
    """Bound every weighted product of monomials, and r of them, for values of size 1."""
    omega = max(1.0, float(np.max(np.abs(weights(polynomial.coefficients, d)))))
    multiplicity = float(np.max(weights((1.0,) * (polynomial.degree + 1), d)))
    size = math.prod(max(m, 1.0) for m in entries)
    with np.errstate(over="ignore"):
        return float(
            rank(d, polynomial.degree)
            * omega
            * multiplicity**2
            * np.power(size, float(polynomial.degree))
        )


def _certificate(
    first: Problem,
    second: Problem,
    polynomial: ExpPolynomial,
    bound: HostArray,
    sums: tuple[HostArray, HostArray],
    largest: float,
    tolerance: float | None,
) -> Certificate:
    g, d, u = polynomial.degree, first.d, first.u
    denominator, parts = sums
    corners = [a * b for a in first.value_range for b in second.value_range]
    slack = 2.0**-51 * np.max(np.abs(corners), axis=0)  # products of two float64 round
    spread = spread_of(np.max(corners, axis=0) + slack, np.min(corners, axis=0) - slack)
    terms = sum(key_sum_terms(p.n_k, d, g, causal=False) + 4 for p in (first, second))
    roundings = 5 * g + rank(d, g) + terms + 16
    pairs = np.asarray(float(first.n_k * second.n_k))
    lost = np.full(bound.shape, up((6 * g + 20) * _arrays.smallest_normal(first.dtype) * largest))
    error = gamma(roundings, u) * polynomial.absolute(bound)
    noise = weight_noise(denominator, error * pairs, lost * pairs)
    tops = [np.maximum(value_spread(p).top, 1.0)[..., None] for p in (first, second)]
    rounding = row_rounding(denominator, pairs * tops[0] * tops[1], noise, lost, first.dtype)
    of_rows = rounding.rows((tops[0] * tops[1])[..., 0])
    by_range = tv_from_log_ratio(polynomial.log_ratio(bound))
    whole = np.broadcast_to(pairs, bound.shape)
    of_degrees = Parts(
        found=parts,
        total=whole,
        power=lambda t: whole_power(bound, t) * whole,
        rounding=gamma(roundings, u),
        lost=lost * pairs,
    )
    mu = moment_error(polynomial, bound, of_degrees, denominator, noise)
    tv = np.minimum(by_range, mu)
    rows = up(output_bound(tv, spread.osc) + of_rows)
    promised = None
    if tolerance is not None:
        promised = tolerance * spread.osc * (1 - 2.0**-40)
    certificate = Certificate(
        rows=rows,
        target=TENSOR,
        theorem=theorem_for(polynomial, mu, by_range),
        facts={
            "basis": polynomial.basis,
            "degree": g,
            "rank": rank(d, g),
            "score bound": bound,
            "rounding": of_rows,
        },
        unmet=lost_denominators(~(denominator > 0), first.dtype),
        promised=promised,
    )
    return held_to_promise(certificate)
