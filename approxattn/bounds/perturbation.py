"""What an error in the weights of one row does to its output.

Symbols. Row i has exact weights f_j, proportional to a_j > 0, and approximate weights f~_j,
proportional to a~_j > 0. Its output is sum_j f_j v_j. TV(f~, f) is half of their l1 distance, and
osc = max - min. For every column c of V

    |out~_c - out_c| <= TV(f~, f) osc(V_:c),

because both outputs are means of the same numbers. So each function here bounds TV, and
`output_bound` does the rest.

T1 (proved here; a Birkhoff-Hilbert metric fact).  TV(f~, f) <= tanh(ln rho / 4), where
ln rho = osc_j ln(a~_j / a_j).

1. Let w_j = a~_j / a_j, and let S be a set of tokens of exact mass a.
2. The approximate mass of S is largest where w takes only two values, in ratio rho, the larger one
   on S. It is then a rho / (1 - a + a rho).
3. Its difference to a is largest at a = 1/(1 + sqrt rho).
4. There it is (sqrt rho - 1)/(sqrt rho + 1) = tanh(ln rho / 4). Two tokens attain it.

Some tokens exact (proved here). The scores of a set R of tokens are off by delta_j, |delta_j| <=
eta, those of the others are exact. r = f~(R) is the approximate mass of R.

1. f_j = f~_j e^(delta_j) / Z, so TV = max_A f(A) - f~(A) is attained by A = {j: delta_j > ln Z}.
2. The exact tokens have one delta, so they lie all in A or all outside.
3. In both cases the difference grows with delta on A and falls with delta outside. So delta is eta
   on one side and -eta on the other, within R.
4. Let x be the f~-mass in R of A (first case) or of its complement (second), 0 <= x <= r. Then
   TV is at most the larger of the maxima over x of

       x e^eta / (1 - r + r e^-eta + 2 x sinh eta) - x,
       x - x e^-eta / (1 - r + r e^eta - 2 x sinh eta).

5. Each is concave in x. With D its denominator, it is largest where D = sqrt(e^eta D(0)), or
   D = sqrt(e^-eta D(0)), or at x = r.
6. The bound is attained, grows with r, and is tanh(eta / 2) for r = 1.
"""

from __future__ import annotations

import numpy as np

from approxattn._arrays import HostArray
from approxattn.bounds.rounding import up


def tv_from_log_ratio(log_ratio: HostArray | float) -> HostArray:
    """Bound TV by T1 from ln rho, the oscillation of the log ratios of the weights.

    Scale-free: a common factor of a row is invisible.
    """
    return up(np.tanh(np.asarray(log_ratio, dtype=np.float64) / 4))


def tv_from_score_error(eta: HostArray | float) -> HostArray:
    """Bound TV when every score is off by at most eta: tanh(eta / 2).

    T1 with ln rho <= 2 eta; the "tanh lemma".
    """
    return tv_from_log_ratio(2 * np.asarray(eta, dtype=np.float64))


def tv_from_partial_score_error(eta: HostArray | float, share: HostArray | float) -> HostArray:
    """Bound TV when tokens of approximate mass `share` have scores off by at most eta and the
    others are exact; shapes broadcast.

    Shares above 1 count as 1. Below eta = 1e-3 the bound is tanh(eta / 2) whatever the share, above
    50 it is 1: the formula has all its digits between.
    """
    t, r = np.broadcast_arrays(np.asarray(eta, dtype=np.float64), np.clip(share, 0.0, 1.0))
    safe = np.clip(t, 1e-3, 50.0)
    found = np.maximum(_largest_gain(safe, r), _largest_gain(-safe, r)) * (1 + 1e-9) + 1e-12
    found = np.where((t >= 1e-3) & (t <= 50), found, 1.0)
    return up(np.where((r > 0) & (t > 0), np.minimum(tv_from_score_error(t), found), 0.0))


def _largest_gain(eta: HostArray, r: HostArray) -> HostArray:
    """Return max over x in [0, r] of |x e^eta / D(x) - x|, D(x) = 1 - r + r e^-eta + 2 x sinh eta;
    the second case is the first with -eta.
    """
    start = (1 - r) + r * np.exp(-eta)
    best = np.sqrt(np.exp(eta) * start)  # D where the derivative vanishes
    x = (best - start) / (2 * np.sinh(eta))
    d = np.where(x < r, best, (1 - r) + r * np.exp(eta))  # or D(r)
    return np.asarray(np.abs(np.minimum(x, r) * (np.exp(eta) - d) / d))


def output_bound(tv: HostArray, value_osc: HostArray) -> HostArray:
    """Return the bound on the largest entry of each row: TV, shape (..., n), times the largest
    column oscillation, shape (...). For weights that are not negative, which have a TV of 1 at
    most.
    """
    return up(np.minimum(tv, 1.0) * value_osc[..., None])
