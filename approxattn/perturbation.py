"""What an error in the weights of one row does to its output.

Row i has exact weights f_j, proportional to a_j > 0, and approximate weights f~_j, proportional to a~_j > 0; its output is sum_j f_j v_j.
For every column c of V

    |out~_c - out_c| <= TV(f~, f) * osc(V_:c),    TV = half the l1 distance,    osc = max - min,

because both outputs are means of the same numbers. So each function here bounds TV, and `output_bound` does the rest.

T1 (proved here; a Birkhoff-Hilbert metric fact). With ln rho = osc_j ln(a~_j / a_j):  TV(f~, f) <= tanh(ln rho / 4).
    Let w_j = a~_j / a_j and S a set of exact mass a. The approximate mass of S is largest when w takes only two values, in ratio rho, the
    larger one on S: a rho / (1 - a + a rho). The difference to a is largest at a = 1/(1 + sqrt rho), where it is
    (sqrt rho - 1)/(sqrt rho + 1) = tanh(ln rho / 4); two tokens attain it.
"""

from __future__ import annotations

import numpy as np

from approxattn._arrays import HostArray
from approxattn.rounding import up


def tv_from_log_ratio(log_ratio: HostArray | float) -> HostArray:
    """Bound TV by T1 from ln rho, the oscillation of the log ratios of the weights. Scale-free: a common factor of a row is invisible."""
    return up(np.tanh(np.asarray(log_ratio, dtype=np.float64) / 4))


def tv_from_relative_error(epsilon: HostArray | float) -> HostArray:
    """Bound TV when |a~_j - a_j| <= epsilon a_j: tanh(artanh(epsilon) / 2) = epsilon / (1 + sqrt(1 - epsilon^2)), 1 for epsilon >= 1.

    The constant is sharp; Alman & Song (2023), attention-error lemma (wording unverified), give twice as much as epsilon goes to 0.
    """
    eps = np.minimum(np.asarray(epsilon, dtype=np.float64), 1.0)
    return up(eps / (1 + np.sqrt(1 - eps * eps)))


def tv_from_score_error(eta: HostArray | float) -> HostArray:
    """Bound TV when every score is off by at most eta: tanh(eta / 2). T1 with ln rho <= 2 eta; the "tanh lemma"."""
    return tv_from_log_ratio(2 * np.asarray(eta, dtype=np.float64))


def output_bound(tv: HostArray, value_osc: HostArray) -> HostArray:
    """Return the bound on the largest entry of each row: TV, shape (..., n), times the largest column oscillation, shape (...)."""
    return up(np.minimum(tv, 1.0) * value_osc[..., None])
