"""Polynomials that touch the error of the even Taylor polynomial: candidates for its majorants.

Symbols. g is even, R(s) = e^s - P_g(s) = sum_{t > g} s^t / t!, F(s) = sum_{t > g} |s|^t / t!, and
N_r(x) = |R(-r x)| / r^(g+1) for x >= 0. B > 0 is a half range, 0 < x < B.

Even ones. Q_x = q_a s^a + q_b s^b + q_g s^g for even a < b < g is the one with Q_x(B) = F(B),
Q_x(x) = F(x), Q_x'(x) = F'(x). Q_x >= F >= |R| on [-B, B] (proved here).

1. Both sides are even: let s > 0. Q_x - F is a sum of powers of s whose coefficients are, in the
   order of the powers, q_a, q_b, q_g and then all negative.
2. So their signs change at most three times. By Descartes' rule, which holds for power series, too,
   Q_x - F has at most three positive zeros, counted with multiplicity.
3. There are three: twice x, and B. So q_a > 0, and Q_x - F changes its sign at B only.
4. It is negative beyond B, where F has the higher powers. So it is not negative on [0, B].

The simple one, F(B) (s / B)^g, is case 1 to 4 without x: F(s) (B / s)^g grows with s.

The pairs a, b = 0, 2 need two moments; 2, g - 2 need one more and come much nearer for g >= 6,
since a higher power can be nearly as flat as F.

With odd parts, for g = 4, where no other even power is left. Q = q_0 + ... + q_4 s^4 meets R at B,
R and R' at y > 0, N_r and its slope at -z < 0.

5. R = (s^(g+1) / g!) int_0^1 (1 - u)^g e^(u s) du has the sign of s. So |R| is R for s > 0 and less
   for s < 0; F counts the larger one on both sides. For scores of both signs, an odd part takes
   back what F counts too much.
6. Let y, -z and B be the nodes of the Gauss-Radau quadrature of scores with moments m_0 ... m_4 and
   positive weights v_k. It is exact for degree 4: sum_t q_t m_t = sum_k v_k |R(x_k)| for r = 1. Any
   other majorant Q' of degree 4 has sum_t q'_t m_t = sum_k v_k Q'(x_k) >= sum_k v_k |R(x_k)|. So
   where Q is a majorant it is the best one for those moments.
7. The nodes taken are those of symmetric scores with mean square (sigma B)^2 and fourth moment 3
   (sigma B)^4, as normal ones have. In units of B, s^2 + p s + c = (s - y)(s + z) is orthogonal to
   1 and s under (1 - s) times their distribution: p = (m_4 - m_2^2) / (m_2 - m_2^2) and c =
   m_2 (p - 1).

Nothing is claimed of 5 to 7 but that they make good candidates.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.polynomial.polynomial import polyder, polyval

from approxattn._arrays import HostArray

TOUCHING = (0.08, 0.11, 0.15, 0.2, 0.27, 0.36, 0.48, 0.64)
"""x / B. *Chosen*: neighbours differ by a third, so a row loses a few per cent to its best."""

DEVIATIONS = (0.08, 0.11, 0.15, 0.2, 0.27, 0.36, 0.48)
"""sigma of step 7. *Chosen* likewise; above 1/sqrt(3) there is no such distribution."""


def even_pairs(degree: int) -> tuple[tuple[int, int], ...]:
    """Return the pairs a, b."""
    return () if degree < 4 else ((0, 2),) if degree < 6 else ((0, 2), (2, degree - 2))


def has_odd(degree: int) -> bool:
    """Tell whether there are candidates with odd parts."""
    return degree == 4


def even_candidates(degree: int, half_range: float) -> HostArray:
    """Return the simple one and Q_x for the pairs and the x of `TOUCHING`, shape (k, g + 1)."""
    g, unit = degree, np.asarray(TOUCHING)
    end = float(_lacking(g, np.array([half_range]))[0][0])
    found = [np.zeros((1, g + 1))]
    found[0][0, g] = end
    for pair in even_pairs(g):
        value, slope = _lacking(g, unit * half_range)
        used = np.array([*pair, g])
        rows = np.stack([np.ones((unit.size, 3)), *_row(unit, used)], axis=1)
        sides = np.stack([np.full(unit.size, end), value, slope * half_range], axis=-1)
        found.append(np.zeros((unit.size, g + 1)))
        found[-1][:, used] = np.linalg.solve(rows, sides[..., None])[..., 0]
    return np.concatenate(found) / half_range ** np.arange(g + 1.0)


def odd_candidates(remainder: HostArray, shrunk: HostArray, half_range: float) -> HostArray:
    """Return those of step 7 for the sigma of `DEVIATIONS`, shape (k, 5), given the coefficients of
    R and of R(r s) / r^5.
    """
    scale = half_range ** np.arange(float(remainder.size))
    of_r, of_n = remainder * scale, -shrunk * scale
    square = np.asarray(DEVIATIONS) ** 2
    p = 2 * square / (1 - square)
    root = np.sqrt(p**2 / 4 - square * (p - 1))
    used, rows, sides = np.arange(5), [np.ones((square.size, 5))], [np.full_like(p, np.sum(of_r))]
    for node, c in ((root - p / 2, of_r), (-root - p / 2, of_n)):
        rows += _row(node, used)
        sides += [polyval(node, c), polyval(node, polyder(c))]
    solved = np.linalg.solve(np.stack(rows, axis=1), np.stack(sides, axis=-1)[..., None])
    return np.asarray(solved[..., 0] / scale[:5])


def _row(node: HostArray, used: HostArray) -> tuple[HostArray, HostArray]:
    """Return the powers at the nodes and their derivatives, shapes (nodes, degrees)."""
    at = node[:, None]
    return at**used, used * at ** np.maximum(used - 1, 0)


def _lacking(degree: int, s: HostArray) -> tuple[HostArray, HostArray]:
    """Return F and F' at s > 0, by their series of positive terms."""
    term = np.exp((degree + 1) * np.log(s) - math.lgamma(degree + 2))
    value, slope = np.zeros_like(s), np.zeros_like(s)
    for t in range(degree + 1, degree + 1 + 40 + int(4 * np.max(s))):
        value, slope = value + term, slope + term * t / s
        term = term * s / (t + 1)
    return value, slope
