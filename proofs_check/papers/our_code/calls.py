"""Calls of `approxattn.attention` as instances that can be written down and replayed.

Problem, method and settings stand in one dictionary:

    q, k, v     arrays of one dtype, shapes (n_q, d), (n_k, d), (n_k, dv)
    key_mask    bool, shape (n_k,); key 0 always takes part, so that every query sees a key
    causal      bool
    scaled_by   the integer s of a scale 1/s (in floats), 0 for 1/sqrt(d); an integer, so that
                simplifying a witness leaves it alone
    method      {"name": class in approxattn, and its arguments}
    seed        of a randomised method
    divisor     the claim is that the error stays within the certificate divided by this number: 1,
                but for mutants

`worst` is error / bound at the entry where it is largest, as a ball. Only the output and the
certificate come from the code under test. What they are held against is computed here, by ball
arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from proofs_check.arithmetic.balls import Rows, ball, exact_attention, precision, yoso_expectation
from proofs_check.statements.experiment import Instance

BITS = 128
"""Working precision of the balls. *Chosen*: twice what float64 needs."""

_FAR = 2**1000
"""Stands for the distance of NaN and infinity from any number."""

_SIZES = (1, 1, 2, 2, 2, 3, 3, 4, 5, 7)
"""Numbers of tokens, as often as they are tried; one problem in 24 has 8 to 64."""

_WRITTEN_OUT = 24
"""Arrays up to this size are drawn entry by entry, so that they shrink; larger ones come from a
seed.
"""


def problems(
    methods: tuple[Mapping[str, Any], ...],
    dtype: str,
    *,
    divisor: int | Fraction = 1,
    causal: bool = True,
    scaled: bool = True,
    square: bool = False,
    exponents: tuple[int, ...] = (0, 0, -2, -9, 5),
) -> Any:
    """Hypothesis strategy of instances.

    Parameters
    ----------
    methods : tuple of mapping
        One is drawn for each problem.
    dtype : str
        Of q, k and v, "float64" or "float32".
    divisor : int or Fraction
        See above.
    causal, scaled : bool
        Whether some problems are causal, have a scale of their own.
    square : bool
        Whether n_q = n_k always.
    exponents : tuple of int
        Queries are integers times one of these powers of two (as are keys, and values with
        exponents of their own).
    """
    from hypothesis import strategies as st

    @st.composite
    def build(draw: Any) -> dict[str, Any]:
        n_k = (
            draw(st.sampled_from(_SIZES))
            if draw(st.integers(0, 23)) < 23
            else draw(st.integers(8, 64))
        )
        n_q = n_k if square or draw(st.booleans()) else draw(st.integers(1, 3))
        d, dv = draw(st.sampled_from((1, 1, 2, 2, 3, 4))), draw(st.sampled_from((1, 1, 2, 3)))
        powers = (
            draw(st.sampled_from(p)) for p in (exponents, (0, 0, 1, -2), (0, 0, -30, 30, -90))
        )
        q, k, v = (
            _matrix(draw, n, w) * 2.0**p
            for (n, w), p in zip(((n_q, d), (n_k, d), (n_k, dv)), powers, strict=True)
        )
        mask = np.ones(n_k, bool)
        if draw(st.integers(0, 2)) == 2:
            mask = np.random.default_rng(draw(st.integers(0, 2**16))).random(n_k) < 0.6
            mask[0] = True
        return {
            "q": q.astype(dtype),
            "k": k.astype(dtype),
            "v": v.astype(dtype),
            "key_mask": mask,
            "causal": causal and n_q == n_k and draw(st.booleans()),
            "scaled_by": draw(st.sampled_from((0, 1, 10))) if scaled else 0,
            "method": draw(st.sampled_from(methods)),
            "seed": draw(st.integers(0, 2**16)),
            "divisor": divisor,
        }

    return build()


def _matrix(draw: Any, n: int, width: int) -> np.ndarray:
    """Draw small integers: plain, thirds (so that products round), few different rows, a common
    offset, or zero rows.
    """
    from hypothesis import strategies as st

    if n * width <= _WRITTEN_OUT:
        entries = np.array(
            draw(st.lists(st.integers(-4, 4), min_size=n * width, max_size=n * width)), float
        ).reshape(n, width)
    else:
        entries = (
            np.random.default_rng(draw(st.integers(0, 2**16)))
            .integers(-4, 5, (n, width))
            .astype(float)
        )
    style = draw(st.sampled_from(("plain", "plain", "thirds", "tied", "offset", "zero rows")))
    if style == "plain":
        return entries
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    if style == "thirds":
        return entries / 3 + rng.uniform(-1, 1, (n, width))
    if style == "tied":
        return entries[rng.integers(0, min(n, 3), n)]
    if style == "offset":
        return entries + np.exp2(rng.integers(-2, 5, (1, width)))
    return np.where(rng.random((n, 1)) < 0.5, 0.0, entries)


def run(instance: Instance) -> Any:
    """Call `approxattn.attention`: the code under test."""
    import approxattn

    settings = dict(instance["method"])
    method = getattr(approxattn, settings.pop("name"))(**settings)
    rng = np.random.default_rng(instance["seed"]) if method.randomised else None
    mask = None if instance["key_mask"].all() else instance["key_mask"]
    q, k, v = (instance[name] for name in "qkv")
    return approxattn.attention(
        q, k, v, method, scale=_scale(instance), causal=instance["causal"], key_mask=mask, rng=rng
    )


def _scale(instance: Instance) -> float | None:
    return 1 / instance["scaled_by"] if instance["scaled_by"] else None


def accepted(instance: Instance) -> bool:
    """Whether the method computes the problem rather than refuse it with a ValueError."""
    try:
        run(instance)
    except ValueError:
        return False
    return True


def target(instance: Instance) -> Rows:
    """Enclose what the method's certificate speaks about."""
    # exact: float64 holds every float32
    q, k, v = (instance[name].astype(np.float64) for name in "qkv")
    mask, causal = instance["key_mask"], instance["causal"]
    if not instance["method"]["name"].startswith("Yoso"):
        return exact_attention(
            q, k, v, scale=_scale(instance), causal=causal, key_mask=mask, bits=BITS
        )
    # A zero vector is at a right angle to all others and parallel to other zero vectors, as its
    # signs are ("orthogonal" of the methods). One more axis, in which only the zero vectors point,
    # says the same without zero vectors.
    q, k = (np.concatenate([x, ~x.any(axis=1, keepdims=True)], axis=1) for x in (q, k))
    rows: Rows = []
    for i in range(q.shape[0]):
        seen = np.flatnonzero(mask[: i + 1] if causal else mask)
        rows += yoso_expectation(
            q[i : i + 1], k[seen], v[seen], bits=instance["method"]["bits"], working_bits=BITS
        )
    return rows


def worst(instance: Instance) -> Any:
    """Largest error / bound over all entries, as a ball; entries of a row without a finite bound
    claim nothing.
    """
    out, enclosures = run(instance), target(instance)
    with precision(BITS):
        largest = ball(0)
        for value, bound, enclosure in zip(
            out.value, out.certificate.rows, enclosures, strict=True
        ):
            if not np.isfinite(bound):
                continue
            gaps = [
                abs(ball(float(x)) - y) if np.isfinite(x) else ball(_FAR)
                for x, y in zip(value, enclosure, strict=True)
            ]
            for gap in gaps:
                ratio = gap * ball(instance["divisor"]) / ball(float(bound))
                largest = ratio if float(ratio.mid()) > float(largest.mid()) else largest
        return largest
