"""Multi-head self-attention of one layer: its weights, the way to q, k, v and back.

Liang et al. (2024), Definition 1.2 and Appendix K, in their letters: head l of Attn(X) is f_l(X) X
W_V with f = softmax(beta X W X^T), W = W_Q W_K^T, row by row; heads stand side by side. Their 1/d
is `scale`; a projection W_O after the heads and biases are ours.

Gradient (proved here; theirs is corrected, see `lss24.gradient`). A are the heads side by side, Y =
A W_O, and dq, dk, dv come from `attention_vjp`. By the product rule:

1. dA = dY W_O^T and dW_O = A^T dY.
2. dW_Q = X^T dq, dW_K = X^T dk and dW_V = X^T dv.
3. dX is the sum over heads of dq W_Q^T + dk W_K^T + dv W_V^T.
4. With W given as one matrix, q = X W and k = X, so dW = X^T dq, and dX is the sum over heads of dq
   W^T + dk + dv W_V^T.

No f, no n x n array: those are the method's business.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np

from approxattn import _arrays
from approxattn._arguments import check_flag, check_positive
from approxattn._arrays import Array, Namespace
from approxattn._problem.masks import check_window
from approxattn._problem.visible import Window
from approxattn.attend import attention, attention_vjp
from approxattn.certificate import Certificate, Gradients
from approxattn.methods.protocol import Method
from approxattn.transformer.affine import outer_total, total_over_tokens
from approxattn.transformer.second_moments import Spread, apart, coordinate_products, spread
from approxattn.transformer.shapes import check_parameters, check_width
from approxattn.transformer.sight import Sight


class Heads(NamedTuple):
    """Queries, keys, values and outputs of the heads, shapes (..., heads, n, width); the
    certificate of the outputs; the spread of keys and values if it is known.
    """

    q: Array
    k: Array
    v: Array
    out: Array
    certificate: Certificate
    spread: Spread | None = None


class PulledHeads(NamedTuple):
    """Gradient of one attention: to its input, to its weights, and what the heads were given and
    gave back.
    """

    du: Array
    gradient: SelfAttention
    dheads: Array
    heads: Gradients


@dataclass(frozen=True, kw_only=True)
class SelfAttention:
    """Weights of multi-head self-attention.

    Parameters
    ----------
    wq, wk : array, shape (heads, d, width), optional
        W_Q, W_K of each head.
    w : array, shape (heads, d, d), optional
        W = W_Q W_K^T of each head, in place of both; queries and keys are then as wide as the
        tokens.
    wv : array, shape (heads, d, width of values)
        W_V of each head.
    wo : array, shape (heads * width of values, d'), optional
        W_O; None: the heads side by side are the output.
    bq, bk, bv : array, shapes (heads, width), (heads, width), (heads, width of values), optional
        Added to queries, keys, values; None: 0.
    bo : array, shape (d',), optional
        Added to the output of W_O.
    scale : float, optional
        beta, the factor of q . k; None: 1/sqrt(width of the queries). Liang et al. take 1/d, or 1
        in their definitions C.6 to C.12.
    causal : bool
        Token i attends to tokens 0..i only.
    window : (int or None, int or None), optional
        Tokens before and after itself that a token attends to, None for no limit on that side;
        `Exact()` only.
    """

    wv: Array
    wq: Array | None = None
    wk: Array | None = None
    w: Array | None = None
    wo: Array | None = None
    bq: Array | None = None
    bk: Array | None = None
    bv: Array | None = None
    bo: Array | None = None
    scale: float | None = None
    causal: bool = False
    window: Window | None = None

    def __post_init__(self) -> None:
        check_flag("causal", self.causal)
        object.__setattr__(self, "window", check_window(self.window))
        if self.scale is not None:
            check_positive("scale", self.scale)
        joint = self.w is not None
        if joint == (self.wq is not None) or joint == (self.wk is not None):
            given = [name for name in ("wq", "wk", "w") if getattr(self, name) is not None]
            msg = (
                f"SelfAttention was given {', '.join(given) or 'none of wq, wk, w'}: it needs both "
                "wq and wk, or w alone"
            )
            raise ValueError(msg)
        shapes = {
            "wq": (self.wq, ("heads", "d", "width")),
            "wk": (self.wk, ("heads", "d", "width")),
            "w": (self.w, ("heads", "d", "d")),
            "wv": (self.wv, ("heads", "d", "dv")),
            "bq": (self.bq, ("heads", "d" if joint else "width")),
            "bk": (self.bk, ("heads", "d" if joint else "width")),
            "bv": (self.bv, ("heads", "dv")),
            "wo": (self.wo, (self.wv.shape[0] * self.wv.shape[-1], "d'")),
            "bo": (self.bo, ("d'",)),
        }
        check_parameters("SelfAttention", shapes)
        if self.bo is not None and self.wo is None:
            msg = (
                "SelfAttention.bo was given without wo: add the bias to a Linear map after the "
                "attention"
            )
            raise ValueError(msg)

    @property
    def heads(self) -> int:
        """Number of heads."""
        return int(self.wv.shape[0])

    @property
    def to_queries(self) -> Array:
        """W_Q, or W where that stands in its place, shape (heads, d, width)."""
        return self.w if self.wq is None else self.wq

    @property
    def beta(self) -> float:
        """Factor of q . k."""
        width = self.to_queries.shape[-1]
        return float(width**-0.5) if self.scale is None else float(self.scale)

    def attend(
        self,
        u: Array,
        method: Method,
        sight: Sight,
        rng: np.random.Generator | None,
        second_moments: bool = False,
    ) -> Heads:
        """Return queries, keys, values and outputs of the heads for tokens u, shape (..., n, d);
        with `second_moments` their spread too.

        That takes a second call of the method, which draws anew if it is randomised: both
        certificates have to hold, so their probabilities of failing add up.
        """
        q, k, v = self.project(u)
        options = self._options(sight) | {"rng": rng}
        out = attention(q, k, v, method, **options)
        if not second_moments:
            return Heads(q, k, v, out.value, out.certificate)
        xp = _arrays.namespace(k=k)
        keys, values = (apart(x, sight, xp) for x in (k, v))
        pairs = xp.concat([coordinate_products(x.unit, xp) for x in (keys, values)], axis=-1)
        moments = attention(q, k, pairs, method, **options)
        sigma = spread(keys, values, moments.value, moments.certificate, self.to_queries)
        failure = min(1.0, out.certificate.failure + moments.certificate.failure)
        certificate = replace(out.certificate, failure=failure)
        return Heads(q, k, v, out.value, certificate, sigma)

    def _options(self, sight: Sight) -> dict[str, Any]:
        """Return the keywords of `attention`. Only tokens that take no part can see none."""
        own = {"scale": self.scale, "causal": self.causal, "window": self.window}
        return {**own, **sight.of_heads, "empty_rows": "zero"}

    def project(self, u: Array) -> tuple[Array, Array, Array]:
        """Return q, k, v."""
        check_width("SelfAttention", u, self.wv.shape[1], self.wv)
        xp, x = _arrays.namespace(u=u, wv=self.wv), u[..., None, :, :]  # (..., 1, n, d)
        k = x if self.wk is None else xp.matmul(x, self.wk)
        if self.wk is None:
            k = xp.broadcast_to(k, (*u.shape[:-2], self.heads, *u.shape[-2:]))
        q = xp.matmul(x, self.to_queries)
        return _plus(q, self.bq), _plus(k, self.bk), _plus(xp.matmul(x, self.wv), self.bv)

    def combine(self, out: Array) -> Array:
        """Return the output Y, shape (..., n, d'), from those of the heads."""
        xp, a = _arrays.namespace(out=out), joined_heads(out)
        y = a if self.wo is None else xp.matmul(a, self.wo)
        return y if self.bo is None else y + self.bo

    def vjp(
        self,
        u: Array,
        run: Heads,
        dout: Array,
        method: Method,
        sight: Sight,
        rng: np.random.Generator | None,
    ) -> PulledHeads:
        """Return the gradients for the cotangent dY = dout of the output, shape (..., n, d')."""
        xp = _arrays.namespace(u=u, dout=dout)
        da = dout if self.wo is None else xp.matmul(dout, xp.matrix_transpose(self.wo))
        dheads = split_heads(da, self.heads)
        options = self._options(sight) | {"rng": rng}
        grads = attention_vjp(run.q, run.k, run.v, dheads, method, **options)
        back = [(grads.dv, self.wv), (grads.dq, self.to_queries)]
        back += [] if self.wk is None else [(grads.dk, self.wk)]
        du = sum(xp.sum(xp.matmul(g, xp.matrix_transpose(w)), axis=-3) for g, w in back)
        du = du + xp.sum(grads.dk, axis=-3) if self.wk is None else du
        return PulledHeads(du, self._gradient(u, run, dout, grads, xp), dheads, grads)

    def _gradient(self, u: Array, run: Heads, dout: Array, grads: Gradients, xp: Namespace) -> Self:
        """Return the gradients of the weights."""
        dq = _per_head(lambda g: outer_total(u, g, xp), grads.dq, xp)
        sums: dict[str, Any] = {
            name: None
            if getattr(self, name) is None
            else _per_head(lambda x: total_over_tokens(x, xp), g, xp)
            for name, g in (("bq", grads.dq), ("bk", grads.dk), ("bv", grads.dv))
        }
        return replace(
            self,
            **sums,
            wv=_per_head(lambda g: outer_total(u, g, xp), grads.dv, xp),
            wq=None if self.wq is None else dq,
            w=None if self.w is None else dq,
            wk=None
            if self.wk is None
            else _per_head(lambda g: outer_total(u, g, xp), grads.dk, xp),
            wo=None if self.wo is None else outer_total(joined_heads(run.out), dout, xp),
            bo=None if self.bo is None else total_over_tokens(dout, xp),
        )


def joined_heads(heads: Array) -> Array:
    """Return heads side by side, shape (..., heads, n, width) -> (..., n, heads * width)."""
    xp = _arrays.namespace(heads=heads)
    *batch, count, n, width = heads.shape
    return xp.reshape(xp.moveaxis(heads, -3, -2), (*batch, n, count * width))


def split_heads(a: Array, count: int) -> Array:
    """Return the inverse of `joined_heads`, shape (..., n, heads * width) -> (..., heads, n,
    width).
    """
    xp = _arrays.namespace(a=a)
    *batch, n, width = a.shape
    return xp.moveaxis(xp.reshape(a, (*batch, n, count, width // count)), -2, -3)


def _plus(x: Array, b: Array | None) -> Array:
    return x if b is None else x + b[:, None, :]


def _per_head(f: Callable[[Array], Array], g: Array, xp: Namespace) -> Array:
    return xp.stack([f(g[..., h, :, :]) for h in range(g.shape[-3])])
