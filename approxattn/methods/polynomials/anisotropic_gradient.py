"""The gradients of attention with an anisotropic set of monomials, and how far they are from the
exact one.

With left_i, right_j, b_j of `gradient`, x = T_q q and y = T_k k the coordinates of centred queries
and keys (T_q = sqrt(beta) S, T_k = sqrt(beta) R), and a dot for the head or the tail part of y_j,

    consistent:  dx_i = sum_j [d_1 K y_j', d_2 K y_j''] (left_i . right_j),    plug-in:  dx_i =
        sum_j K (left_i . right_j) y_j,

both the gradient of sums with K or with its primitives, then dq_i = T_q^T dx_i, and dk, dv and the
means likewise. Coordinates, degrees and coefficients are held fixed.

Error (proved here). T3 holds with the ln rho of `anisotropic`, for plug-in as it stands: sum_j p_ij
T_q^T T_k k_j is beta sum_j p_ij k_j up to |E| = |I - S^T R|. In the consistent gradient the weights
of the head parts are off by |d_1 K - K| and those of the tail parts by |d_2 K - K|. With eps_h,
sigma_h the relative errors of P_h and P_h' / P_h,

    |d_1 K - K| <= e^{s'} sum_h t^h/h! sigma_h (1 + eps_h),
    |d_2 K - K| <= e^{s'} ( sum_{h<H} t^h/h! (eps_h + eps_{h+1}) + t^H/H! (1 + eps_H) ),      K >=
        e^{s'} e^{-t} (1 - eps).

A row's weights times (z - kappa) have an l1 norm of at most omega_i / 2, so these ratios, times the
largest head and tail parts of x or y, bound what they add.

Rounding adds r_i Z_i + 2 e_i to the l1 norm of a row, as in `gradient_bounds`, in coordinates whose
lengths T_q^T and T_k^T change by at most their Frobenius norms.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn.bounds.gradients import GradientBounds, cotangent_size, gradient_bounds
from approxattn.bounds.rounding import gamma, up
from approxattn.bounds.scores import row_norms, value_spread, visible_max
from approxattn.methods.polynomials.anisotropic import Split, SplitForward, split_log_ratio
from approxattn.methods.polynomials.forward import weight_noise
from approxattn.methods.polynomials.gradient import mean_over_visible, through_mean_query
from approxattn.monomials.dense import derivative
from approxattn.monomials.split import SplitKernel, primitives, tail_derivative


def split_gradient(run: SplitForward, dout: Array, kind: str) -> tuple[Array, Array, Array]:
    """Return dq, dk, dv for the cotangent dout."""
    problem, xp, found, weights = run.problem, run.problem.xp, run.found, run.scores.weights
    kappa = xp.sum(dout * run.value, axis=-1, keepdims=True)
    sums = found.x, xp.concat([dout, -kappa], axis=-1) / run.denominator, found.y, run.values
    parts = [
        (kernel.gradient_x(*sums), kernel.gradient_y(*sums))
        for kernel in _kernels(run.kernel, kind)
    ]
    head = run.split.head
    dx, dy = (
        xp.concat([parts[0][i][..., :head], parts[-1][i][..., head:]], axis=-1) for i in range(2)
    )
    dright = run.kernel.transposed_sums(found.x, found.y, sums[1])
    dq, dk = (
        _arrays.cast(
            xp.matmul(_arrays.cast(a, "float64", xp), _arrays.from_host(t, a)), problem.dtype, xp
        )
        for a, t in ((dx, found.to_x), (dy, found.to_y))
    )
    dv = dright[..., : problem.dv]
    if weights is not None:
        pull = problem.scale * xp.sum(run.values * dright, axis=-1, keepdims=True)
        dk, dv = dk + pull * run.scores.middle, dv * weights
        dq = through_mean_query(dq, pull, problem, run.scores) if kind == "consistent" else dq
    if kind == "consistent" and run.scores.keys_centred:
        dk = dk - mean_over_visible(dk, problem)
    if problem.key_mask is not None:
        keep = problem.key_mask[..., None]
        dk, dv = xp.where(keep, dk, xp.zeros_like(dk)), xp.where(keep, dv, xp.zeros_like(dv))
    return dq, dk, dv


def _kernels(kernel: SplitKernel, kind: str) -> list[SplitKernel]:
    """Return the kernels whose gradients give the head and the tail part."""
    return (
        [kernel]
        if kind == "consistent"
        else [replace(kernel, table=table) for table in primitives(kernel.table)]
    )


@dataclass(frozen=True, kw_only=True)
class _Sizes:
    """Largest lengths on the host: of y, its head and tail, (..., 1); of x, its head and tail,
    (..., n_q); of centred keys and m, (..., 1); T_q, T_k, (..., 1).
    """

    y: HostArray
    y_head: HostArray
    y_tail: HostArray
    x: HostArray
    x_head: HostArray
    x_tail: HostArray
    keys: HostArray
    middle: HostArray
    to_x: HostArray
    to_y: HostArray


def split_gradient_bounds(run: SplitForward, dout: Array, kind: str) -> GradientBounds:
    """Return T3 plus what slopes and rounding add."""
    problem, spread, zero = run.problem, value_spread(run.problem), np.zeros(run.rounding.shape)
    size, sizes = cotangent_size(dout, problem.xp), _sizes(run)
    omega, beta = size * spread.osc[..., None], problem.scale
    truncated = gradient_bounds(
        problem, dout, run.scores.keys, log_ratio=run.log_ratio, weight_noise=zero, pair_noise=zero
    )
    noise, l1, loss = _noise(run, kind, size)
    lost = ~np.isfinite(l1)
    l1, noise = np.where(lost, 0.0, l1), np.where(lost, 0.0, noise)
    slopes = _slope_errors(run.split) if kind == "consistent" else (zero, zero)
    with np.errstate(over="ignore", invalid="ignore"):
        by_y = slopes[0] * sizes.y_head + slopes[1] * sizes.y_tail
        by_x = slopes[0] * sizes.x_head + slopes[1] * sizes.x_tail
        half = np.where(omega > 0, omega / 2, 0.0)
        slope_q, slope_k = (np.where(half > 0, half * by, 0.0) for by in (by_y, by_x))
        turned = beta * run.found.miss * omega  # what S^T R != I costs
        apart = (
            sizes.to_x * (l1 * sizes.y + slope_q + problem.n_k * (1 + sizes.y) * loss)
            + turned * sizes.keys
        )
        rows = sizes.to_y * (
            l1 * sizes.x + slope_k + (1 + sizes.x) * loss
        ) + beta * sizes.middle * (l1 + loss)
        rows = rows + turned * (row_norms(run.scores.queries, problem.xp) + sizes.middle)
        dq = truncated.dq + apart
        dk = truncated.dk + np.sum(rows, axis=-1, keepdims=True)
        dv = truncated.dv + np.sum(noise * size + loss, axis=-1, keepdims=True)
        if kind == "consistent":
            wide = gamma(problem.n_q + problem.n_k + 16, 2.0**-53) + 8 * problem.u
            both = beta * sizes.keys + sizes.to_x * sizes.y * (1 + slopes[0] + slopes[1])
            pulled = (
                apart
                + beta * sizes.keys * l1
                + np.where(size > 0, wide * 2 * size * spread.top[..., None] * both, 0.0)
            )
            dq = dq + np.where(
                run.scores.centred[..., None], np.mean(pulled + apart, axis=-1, keepdims=True), 0.0
            )
            dk = 2 * dk
    any_lost = np.any(lost, axis=-1, keepdims=True)
    dq, dk, dv = (
        np.where(gone, np.inf, np.nan_to_num(up(x), nan=np.inf))
        for gone, x in ((lost, dq), (any_lost, dk), (any_lost, dv))
    )
    if kind == "consistent":
        dq = np.where(any_lost & run.scores.centred[..., None], np.inf, dq)
    return GradientBounds(dq=dq, dk=dk, dv=dv)


def _sizes(run: SplitForward) -> _Sizes:
    problem, head, found = run.problem, run.split.head, run.found
    xp, grow = problem.xp, 1 + 8 * problem.u

    def longest(a: Array) -> HostArray:
        return visible_max(row_norms(a, xp), problem)[..., None] * grow

    return _Sizes(
        y=longest(found.y),
        y_head=longest(found.y[..., :head]),
        y_tail=longest(found.y[..., head:]),
        x=row_norms(found.x, xp) * grow,
        x_head=row_norms(found.x[..., :head], xp) * grow,
        x_tail=row_norms(found.x[..., head:], xp) * grow,
        keys=longest(run.scores.keys),
        middle=row_norms(run.scores.middle, xp),
        to_x=up(np.linalg.norm(found.to_x, axis=(-2, -1)))[..., None],
        to_y=up(np.linalg.norm(found.to_y, axis=(-2, -1)))[..., None],
    )


def _noise(run: SplitForward, kind: str, size: HostArray) -> tuple[HostArray, HostArray, HostArray]:
    """Return r_i, r_i Z_i + 2 e_i, and what underflow can take from one term, shapes (..., n_q)."""
    problem, split, top = run.problem, run.split, value_spread(run.problem).top[..., None]
    table = split.table
    tables = (table, tuple(derivative(c) for c in table), tail_derivative(table))
    largest = (
        _kernels(run.kernel, kind)[-1]
        if kind == "consistent"
        else replace(run.kernel, table=tuple((0.0, *row) for row in ((0.0,), *table)))
    )
    order = max(largest.degrees) + len(largest.table)
    roundings = (
        largest.roundings(max(problem.n_q, problem.n_k))
        + largest.rank
        + (problem.d + 8) * order
        + 3 * (problem.dv + 1)
        + 24
    )
    absolute = np.max(
        [replace(run.kernel, table=t).absolute(split.heads, split.tails) for t in tables], axis=0
    )
    tiny, u = _arrays.smallest_normal(problem.dtype), problem.u
    m_x, m_y = (float(problem.xp.max(problem.xp.abs(a))) for a in (run.found.x, run.found.y))
    with np.errstate(over="ignore"):
        every = [
            run.kernel,
            *_kernels(run.kernel, "plug-in"),
            *(replace(run.kernel, table=t) for t in tables),
        ]
        inside = (
            np.max([k.underflow(split.heads, split.tails, m_x, m_y, tiny) for k in every], axis=0)
            + tiny * absolute
        )
        host = _arrays.to_host(run.denominator[..., 0]).astype(np.float64)
        error = gamma(roundings, u) * absolute * run.scores.total
        noise = weight_noise(host, np.ones(1), error, inside * problem.visible_keys)
        right = np.maximum(top, 1.0)
        left = 1 + size * (1 + right) / np.where(host > 0, np.minimum(host, 1.0), 1.0)
        loss = up(
            2
            * (problem.dv + 2)
            * right
            * ((problem.d + order) * left * inside + 2 * tiny * (absolute + 1))
        )
        pair = size * (2 * gamma(problem.dv + 4, u) * top + run.rounding)
        amplified = np.maximum(1.0, np.where(np.isfinite(noise), noise, 1.0) / gamma(roundings, u))
        finite = np.where(np.isfinite(noise), noise, 0.0)
        l1 = np.where(
            np.isfinite(noise), up(finite * 2 * size * top + 2 * pair * amplified), np.inf
        )
    return noise, l1, loss


def _slope_errors(split: Split) -> tuple[HostArray, HostArray]:
    """Return bounds on |d_1 K / K - 1| and |d_2 K / K - 1|, shapes (..., n_q); inf where K may not
    be positive.
    """
    b, t, last = split.heads, split.tails, len(split.polynomials) - 1
    eps = np.tanh(split_log_ratio(split) / 2)
    errors = [p.relative_error(b) for p in split.polynomials]
    terms = [np.ones_like(t)]
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for h in range(1, last + 1):
            terms.append(terms[-1] * t / h)
        head = sum(
            term * p.slope_error(b) * (1 + e)
            for term, p, e in zip(terms, split.polynomials, errors, strict=True)
        )
        tail = sum(terms[h] * (errors[h] + errors[h + 1]) for h in range(last)) + terms[last] * (
            1 + errors[last]
        )
        below = np.exp(-t) * (1 - eps)
        found = [
            np.where(below > 0, up(x / np.where(below > 0, below, 1.0)), np.inf)
            for x in (head, tail)
        ]
    return found[0], found[1]
