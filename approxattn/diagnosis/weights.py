"""The weights that a method gives to every key, for problems small enough to look at them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array
from approxattn._arrays.entry import public
from approxattn.attend import attention
from approxattn.certificate import Approximation
from approxattn.methods.exact import Exact

MOST_WEIGHTS = 2**22
"""Weights that are made at one time, over all leading indices. *Chosen*: 2,048 queries and keys,
32 MiB in float64; the work grows with the cube.
"""


@public()
def weights(
    q: Array,
    k: Array,
    method: Any = None,
    *,
    scale: float | None = None,
    causal: bool = False,
    key_mask: Array | None = None,
    rng: np.random.Generator | None = None,
) -> Approximation:
    """Return the weights that a method really uses, small ones and wrong ones included.

    Parameters
    ----------
    q, k : array, shapes (..., n_q, d), (..., n_k, d)
        Queries and keys, as in `attention`; at most 2^22 weights.
    method : Method, optional
        One whose output is linear in v; None means `Exact()`.
    scale, causal, key_mask, rng
        As in `attention`.

    Returns
    -------
    Approximation
        `value`, shape (..., n_q, n_k): row i holds the weights of query i. `certificate` bounds
        their errors. Rows sum to 1, up to rounding, for methods that average values; those of YOSO
        do not, nor those of random projections.

    Raises
    ------
    TypeError
        What `attention` refuses.
    ValueError
        Too many weights; a method whose output is not linear in v, or depends on v otherwise
        (`FittedPolynomial`, ``Polynomial(tolerance=...)``, ``Linformer(sketch="max-pool")``,
        ``normalize=True``); and what `attention` refuses.

    Notes
    -----
    An output that is linear in v is the weights times v. So it is the weights for the identity in
    the place of v, whatever the method, and that is what is computed.

    Examples
    --------
    >>> import numpy as np, approxattn as aa
    >>> q, k, v = np.random.default_rng(0).uniform(-1, 1, (3, 50, 4))
    >>> w = aa.weights(q, k, aa.Nystrom(landmarks=8)).value
    >>> bool(abs(w @ v - aa.attention(q, k, v, aa.Nystrom(landmarks=8)).value).max() < 1e-12)
    True
    """
    method = Exact() if method is None else method
    why = getattr(method, "why_not_linear", "")
    if why:
        msg = f"method {type(method).__name__} has no weights: {why}"
        raise ValueError(msg)
    xp = _arrays.namespace(q=q, k=k)
    if q.ndim < 2 or k.ndim < 2:
        msg = f"q{tuple(q.shape)} and k{tuple(k.shape)} need the shape (..., tokens, features)"
        raise ValueError(msg)
    n_k = int(k.shape[-2])
    items = max(math.prod(q.shape[:-2]), math.prod(k.shape[:-2]))
    count = items * int(q.shape[-2]) * n_k
    if count > MOST_WEIGHTS:
        msg = (
            f"q{tuple(q.shape)} and k{tuple(k.shape)} have {count} weights, more than "
            f"{MOST_WEIGHTS}: take fewer queries or leading indices at a time"
        )
        raise ValueError(msg)
    identity = xp.eye(n_k, dtype=xp.float64, device=_arrays.device(k))
    v = _arrays.cast(identity, _arrays.dtype_name(k), xp)
    found: Approximation = attention(
        q, k, v, method, scale=scale, causal=causal, key_mask=key_mask, rng=rng
    )
    return found
