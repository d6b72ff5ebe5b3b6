"""How far the loss <dout, T_m> can be off: dual weighted residuals.

Symbols.

    Phi_l      the exact layers after layer l
    eps_l      distance, row by row, of the computed T_l to what exact attention makes of the
               computed T_{l-1}: one layer's own error, with nothing carried in
    G_l        the computed dL/dT_l, `total_l` the bound on its error
    delta_l    the bound on the error of T_l

Proved here (Becker & Rannacher 2001, wording unverified, with the remainder bounded).

1. By telescoping, <dout, exact T_m - T_m> is the sum over l of <dout, Phi_l(T_l + eps_l) -
   Phi_l(T_l)>.
2. Each term is the mean over t in [0, 1] of <grad of <dout, Phi_l> at T_l + t eps_l, eps_l>.
3. T_l + t eps_l is no farther from T_l than delta_l, and `total_l` holds for every point that near.
   So that gradient differs from G_l by at most `total_l` in sum.
4. By 1 to 3 the loss is off by at most sum_l [ sum_i |G_l,i| eps_l,i + total_l max_i eps_l,i ].

What matters of each layer's error is weighed by the gradient that was measured. Products of
Lipschitz constants enter the second term only, which is of second order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn.transformer.affine import bounded, norms


def loss_bound(
    cotangents: Sequence[Array], totals: Sequence[HostArray], own: Sequence[HostArray]
) -> HostArray:
    """Return step 4, shape (...), from G_l, total_l and eps_l, shapes (..., n, d), (...),
    (..., n).
    """
    bound: HostArray = np.zeros(())
    for g, total, eps in zip(cotangents, totals, own, strict=True):
        weighed = np.sum(norms(g, _arrays.namespace(g=g)) * eps, axis=-1)
        bound = bound + weighed + total * np.max(eps, axis=-1)
    return bounded(bound)
