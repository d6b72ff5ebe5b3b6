"""How near the bounds from moments (T5) are to what they bound, and to the error.

    ./run.sh bench moments                  # or: python benchmarks/moments.py --degrees 2 4 6

Per row: *bound*, the truncation that the certificate names, in units of osc(V), the smaller of T5
and T1 or T2; *range*, T1 or T2 alone, from the range of the scores; *sum*, sum_j w_j |P(s_j) -
e^(s_j)| / E, which T5 bounds; *error*, the largest error of the output over osc(V), for values
uniform on [-1, 1]. Each line gives the median and the largest bound, the median of range, the
median and the largest of bound / sum, and of error / bound. (The rounding of float64 is no part of
that bound: where it is below 1e-12, errors may be above it.) Where P is not known to be positive,
range is 1.

Data: uniform on [-1, 1] and normal with deviation 1/2, 512 queries and 4,000 keys, and the eight
heads of a small language model that come with the package. float64, scale 1/sqrt(d), seed 0; sum
and exact outputs in extended precision. `taylor` is the even Taylor polynomial, `one-sided` that
basis, made anew for the largest score bound and the 98 % quantile of the rows' deviations.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

import approxattn as aa
from approxattn.bounds.perturbation import tv_from_log_ratio
from approxattn.data import minilm_heads
from approxattn.exponential import ExpPolynomial, one_sided, taylor

Array = npt.NDArray[Any]

QUERIES, KEYS = 512, 4000
TYPICAL = 0.98
HEADER = (
    f"{'data':<18}{'basis':<11}{'g':>3}  {'bound':>8} {'largest':>8} {'range':>8}  "
    f"{'to sum':>7} {'largest':>9}  {'error to':>8} {'largest':>8}"
)


def data_sets() -> Iterator[tuple[str, Array, Array, Array]]:
    """Draw or load queries, keys and values."""
    rng = np.random.default_rng(0)
    for d in (4, 8, 16):
        for name in ("uniform", "Gaussian"):
            draw = rng.standard_normal if name == "Gaussian" else None
            q, k = (
                0.5 * draw((n, d)) if draw else rng.uniform(-1, 1, (n, d)) for n in (QUERIES, KEYS)
            )
            yield f"{name}, d = {d}", q, k, rng.uniform(-1, 1, (KEYS, d))
    heads = minilm_heads()
    for i, layer in enumerate(heads.layers):
        for j, head in enumerate(heads.heads):
            q, k = (x[i, j].astype(np.float64) for x in (heads.q, heads.k))
            yield f"MiniLM {layer}, {head}", q, k, rng.uniform(-1, 1, k.shape)


def centred(q: Array, k: Array, scale: float, queries: bool) -> tuple[Array, Array]:
    """Return the centred scores and the weights of the keys, in extended precision."""
    wide = np.longdouble
    keys = k.astype(wide) - np.mean(k, axis=0, dtype=wide)
    middle = np.mean(q, axis=0, dtype=wide) * (1 if queries else 0)
    logs = scale * (keys @ middle)
    return scale * ((q.astype(wide) - middle) @ keys.T), np.exp(logs - np.max(logs))


def polynomial(basis: str, g: int, bound: Array, s: Array, w: Array) -> ExpPolynomial:
    """Make the polynomial that the library takes."""
    if basis == "taylor":
        return taylor(g)
    squares = np.asarray(s**2 @ w / np.sum(w), dtype=np.float64)
    return one_sided(g, float(np.max(bound)), float(np.sqrt(np.quantile(squares, TYPICAL))))


def line(name: str, basis: str, g: int, q: Array, k: Array, v: Array) -> str:
    """Measure one polynomial on one data set."""
    found = aa.attention(q, k, v, aa.Polynomial(degree=g, basis=basis))
    facts, scale = found.certificate.facts, 1 / math.sqrt(q.shape[1])
    s, w = centred(q, k, scale, facts["queries centred"] == "yes")
    p = polynomial(basis, g, facts["score bound"], s, w)
    value = np.zeros_like(s)
    for c in reversed(p.coefficients):
        value = value * s + c
    off = np.abs(value - np.exp(s)) @ w / (value @ w)
    f = np.exp(s) * w
    exact = f @ v.astype(np.longdouble) / np.sum(f, axis=-1, keepdims=True)
    error = np.max(np.abs(found.value - exact), axis=-1) / np.max(np.ptp(v, axis=0))
    bound = facts["truncation, in units of osc(V)"]
    by_range = tv_from_log_ratio(p.log_ratio(facts["score bound"]))
    over, used = (np.asarray(x, dtype=float) for x in (bound / off, error / bound))
    return (
        f"{name:<18}{basis:<11}{g:>3}  {np.median(bound):8.1e} "
        f"{np.max(bound):8.1e} {np.median(by_range):8.1e}  {np.median(over):7.2f} "
        f"{np.max(over):9.2f}  {np.median(used):8.1e} {np.max(used):8.1e}"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--degrees", type=int, nargs="+", default=list(range(2, 13)))
    degrees = parser.parse_args().degrees
    print(HEADER)
    for name, q, k, v in data_sets():
        for g in degrees:
            for basis in ("taylor", "one-sided") if g % 2 == 0 else ("one-sided",):
                print(line(name, basis, g, q, k, v), flush=True)


if __name__ == "__main__":
    main()
