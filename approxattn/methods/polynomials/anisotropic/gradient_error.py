"""How far the gradients of `anisotropic_gradient` are from the exact one.

Symbols. K, P_h, s', s'', t, eps_h, eps as in `anisotropic`; sigma_h is the relative error of P_h' /
P_h; S, R, T_q, T_k as in `anisotropic_gradient`, E = I - S^T R; p_ij is the weight of key j in
dq_i; omega_i, r_i, e_i, Z_i as in `bounds.gradients`.

Truncation (proved here).

1. T3 holds with the ln rho of `anisotropic`.
2. Plug-in: sum_j p_ij T_q^T T_k k_j is beta sum_j p_ij k_j up to |E|. Nothing else is added.
3. Consistent: the weights of the head parts are off by |d_1 K - K|, those of the tail parts by |d_2
   K
   - K|.
4. |d_1 K - K| <= e^{s'} sum_h t^h/h! sigma_h (1 + eps_h).
5. |d_2 K - K| <= e^{s'} (sum_{h<H} t^h/h! (eps_h + eps_{h+1}) + t^H/H! (1 + eps_H)).
6. K >= e^{s'} e^{-t} (1 - eps) turns 4 and 5 into ratios.
7. A row's weights times (z - kappa) have an l1 norm of at most omega_i / 2. So the ratios, times
   the largest head and tail parts of x or y, bound what is added.

Rounding adds r_i Z_i + 2 e_i to the l1 norm of a row, as in `bounds.gradients`, in coordinates
whose lengths T_q^T and T_k^T change by at most their Frobenius norms.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn.bounds.gradients import (
    GradientBounds,
    GradientNoise,
    cotangent_size,
    gradient_bounds,
)
from approxattn.bounds.rounding import U64, gamma, times, up
from approxattn.bounds.scores import row_norms, value_spread, visible_max
from approxattn.methods.polynomials.anisotropic.gradient import gradient_kernels
from approxattn.methods.polynomials.anisotropic.split_choice import Split
from approxattn.methods.polynomials.anisotropic.sums import SplitForward, split_log_ratio
from approxattn.methods.polynomials.metric import frobenius
from approxattn.methods.polynomials.row_rounding import weight_noise
from approxattn.monomials.dense import derivative
from approxattn.monomials.split import SplitKernel, tail_derivative


@dataclass(frozen=True, kw_only=True)
class _Lengths:
    """Largest lengths on the host: of y, its head and tail, and of centred keys, (..., 1); of x,
    its head and tail, (..., n_q); of T_q and T_k, (..., 1).
    """

    y: HostArray
    y_head: HostArray
    y_tail: HostArray
    x: HostArray
    x_head: HostArray
    x_tail: HostArray
    keys: HostArray
    to_x: HostArray
    to_y: HostArray


@dataclass(frozen=True, kw_only=True)
class _Noise:
    """r_i, r_i Z_i + 2 e_i, and what underflow can take from one term, shapes (..., n_q)."""

    weights: HostArray
    l1: HostArray
    loss: HostArray

    @property
    def lost(self) -> HostArray:
        """Rows without a bound."""
        return ~np.isfinite(self.l1)

    def finite(self) -> _Noise:
        """Return it with 0 for the rows without a bound: inf times 0 would be NaN."""
        weights, l1 = (np.where(self.lost, 0.0, x) for x in (self.weights, self.l1))
        return replace(self, weights=weights, l1=l1)


def split_gradient_bounds(run: SplitForward, dout: Array, kind: str) -> GradientBounds:
    """Return T3 plus what slopes and rounding add."""
    problem, zero = run.problem, np.zeros(run.rounding.shape)
    size = cotangent_size(dout, problem.xp)
    noise = _noise(run, kind, size)
    none = GradientNoise(weights=zero, pairs=zero)
    truncated = gradient_bounds(
        problem, size, log_ratio=run.log_ratio, noise=none, key_norm=run.scores.radius
    )
    with np.errstate(over="ignore", invalid="ignore"):
        added = _added(run, kind, size, noise.finite())
        dq, dk, dv = (up(a + b) for a, b in zip(truncated, added, strict=True))
        dk = 2 * dk if kind == "consistent" else dk
    any_lost = np.any(noise.lost, axis=-1, keepdims=True)
    lost = noise.lost
    if kind == "consistent":
        lost = lost | (any_lost & run.scores.centred[..., None])
    return GradientBounds(
        dq=np.where(lost, np.inf, dq),
        dk=np.where(any_lost, np.inf, dk),
        dv=np.where(any_lost, np.inf, dv),
    )


def _added(run: SplitForward, kind: str, size: HostArray, noise: _Noise) -> GradientBounds:
    """Return what slopes, coordinates and rounding add to T3."""
    problem, scores, lengths = run.problem, run.scores, _lengths(run)
    spread, beta = value_spread(problem), problem.scale
    omega = size * spread.osc[..., None]
    zero = np.zeros_like(noise.l1)
    slopes = _slope_errors(run.split) if kind == "consistent" else (zero, zero)
    by_y = slopes[0] * lengths.y_head + slopes[1] * lengths.y_tail
    by_x = slopes[0] * lengths.x_head + slopes[1] * lengths.x_tail
    slope_q, slope_k = (np.where(omega > 0, omega / 2 * by, 0.0) for by in (by_y, by_x))
    mismatch = times(run.coordinates.miss, omega)  # what S^T R != I costs
    loss_q = problem.n_k * (1 + lengths.y) * noise.loss
    loss_k = (1 + lengths.x) * noise.loss
    dq = lengths.to_x * (noise.l1 * lengths.y + slope_q + loss_q) + times(
        beta, mismatch, lengths.keys
    )
    dk = lengths.to_y * (noise.l1 * lengths.x + slope_k + loss_k)
    dk = dk + times(beta, scores.middle_length, noise.l1 + noise.loss)
    dk = dk + times(beta, mismatch, scores.lengths + scores.middle_length)
    dv = noise.weights * size + noise.loss
    if kind == "consistent" and np.any(scores.centred):
        rounded = gamma(problem.n_q + problem.n_k + 16, U64) + 8 * problem.u
        means = times(2 * rounded, size, spread.top[..., None])
        of_coordinates = times(lengths.to_x, lengths.y, 1 + slopes[0] + slopes[1], means)
        pulled = 2 * dq + times(beta, lengths.keys, noise.l1 + means) + of_coordinates
        mean = np.mean(pulled, axis=-1, keepdims=True)
        dq = dq + np.where(scores.centred[..., None], mean, 0.0)
    return GradientBounds(
        dq=dq, dk=np.sum(dk, axis=-1, keepdims=True), dv=np.sum(dv, axis=-1, keepdims=True)
    )


def _lengths(run: SplitForward) -> _Lengths:
    problem, head, coordinates = run.problem, run.split.head, run.coordinates
    xp, grow = problem.xp, 1 + 8 * problem.u

    def longest(a: Array) -> HostArray:
        return visible_max(row_norms(a, xp), problem)[..., None] * grow

    return _Lengths(
        y=longest(coordinates.y),
        y_head=longest(coordinates.y[..., :head]),
        y_tail=longest(coordinates.y[..., head:]),
        x=row_norms(coordinates.x, xp) * grow,
        x_head=row_norms(coordinates.x[..., :head], xp) * grow,
        x_tail=row_norms(coordinates.x[..., head:], xp) * grow,
        keys=run.scores.radius * grow,
        to_x=frobenius(coordinates.to_x)[..., None],
        to_y=frobenius(coordinates.to_y)[..., None],
    )


def _noise(run: SplitForward, kind: str, size: HostArray) -> _Noise:
    problem, split, host = run.problem, run.split, run.host_denominator
    top = value_spread(problem).top[..., None]
    tables = (
        split.table,
        tuple(derivative(c) for c in split.table),
        tail_derivative(split.table),
    )
    by_table = [replace(run.kernel, table=t) for t in tables]
    roundings, order = _roundings(run, kind)
    absolute = np.max([k.absolute(split.heads, split.tails) for k in by_table], axis=0)
    tiny, u = _arrays.smallest_normal(problem.dtype), problem.u
    with np.errstate(over="ignore", invalid="ignore"):
        every = [run.kernel, *gradient_kernels(run.kernel, "plug-in"), *by_table]
        inside = tiny * absolute + np.max(
            [k.underflow(split.heads, split.tails, *run.largest, tiny) for k in every], axis=0
        )
        error = gamma(roundings, u) * absolute * run.scores.total
        noise = weight_noise(host, error, inside * problem.visible_keys)
        right = np.maximum(top, 1.0)
        left = 1 + size * (1 + right) / np.where(host > 0, np.minimum(host, 1.0), 1.0)
        lost_in_sums = (problem.d + order) * left * inside + 2 * tiny * (absolute + 1)
        loss = up(2 * (problem.dv + 2) * right * lost_in_sums)
        pair = size * (2 * gamma(problem.dv + 4, u) * top + run.rounding)
        finite = np.where(np.isfinite(noise), noise, 0.0)
        amplified = np.maximum(1.0, finite / gamma(roundings, u))
        l1 = up(finite * 2 * size * top + 2 * pair * amplified)
    return _Noise(weights=noise, l1=np.where(np.isfinite(noise), l1, np.inf), loss=loss)


def _roundings(run: SplitForward, kind: str) -> tuple[int, int]:
    """Return K of `forward` for the longest path, and one more than its largest degree."""
    problem, largest = run.problem, _largest_kernel(run.kernel, kind)
    order = max(largest.degrees) + len(largest.table)
    sums = largest.roundings(max(problem.n_q, problem.n_k)) + largest.rank
    sums += min(problem.earlier, 1)  # those over earlier and later keys are added
    return sums + (problem.d + 8) * order + 3 * (problem.dv + 1) + 24, order


def _largest_kernel(kernel: SplitKernel, kind: str) -> SplitKernel:
    """Return a kernel with at least the monomials of all that a gradient takes."""
    if kind == "consistent":
        return kernel
    return replace(kernel, table=tuple((0.0, *row) for row in ((0.0,), *kernel.table)))


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
        ratios = [
            np.where(below > 0, up(x / np.where(below > 0, below, 1.0)), np.inf)
            for x in (head, tail)
        ]
    return ratios[0], ratios[1]
