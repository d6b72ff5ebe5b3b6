"""The mode of methods that take a bias, a soft cap or sinks: output, log-sum-exp and gradient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

import approxattn as aa
from proofs_check.hunt import scales
from proofs_check.hunt.claims import Claim, Ends, Seen, row_claim
from proofs_check.hunt.methods import Cell, Row
from proofs_check.hunt.modes.calls import Library, call_options
from proofs_check.hunt.oracles import variant_balls, variants
from proofs_check.hunt.oracles.enclosures import ends
from proofs_check.hunt.oracles.softmax import Exact
from proofs_check.hunt.oracles.variants import Variant
from proofs_check.hunt.problems import Posed, ordered
from proofs_check.hunt.structures import stack

Host = np.ndarray[Any, Any]


def varied(rng: np.random.Generator, posed: Posed, cell: Cell) -> Posed:
    """Return the problems with a bias, a soft cap, sinks, or several of these, one problem in two
    with masks too; queries may see no key.
    """
    which = int(rng.integers(1, 8))
    arrays, count = dict(posed.arrays), posed.count
    n_q, n_k = arrays["q"].shape[-2], arrays["k"].shape[-2]
    if which & 1:
        rows = 1 if rng.integers(0, 4) == 0 else n_q
        bias = scales.sized(stack(rng, count, rows, n_k), _sizes(rng, cell, count), cell.dtype)
        if rng.integers(0, 3) == 0:
            bias = np.where(rng.random(bias.shape) < 0.3, -np.inf, bias).astype(cell.dtype)
        arrays["bias"] = bias
    if which & 2:
        arrays["sinks"] = scales.sized(
            stack(rng, count, 1, 1), _sizes(rng, cell, count), cell.dtype
        )
    cap = float(2.0 ** _sizes(rng, cell, 1)[0] * rng.choice([1.0, 1.3])) if which & 4 else None
    found = replace(posed, arrays=arrays, softcap=cap, order={"empty_rows": "zero"})
    found = ordered(rng, found, cell) if rng.integers(0, 2) else found
    if found.causal or _is_function(found):  # where a position means something, it must be given
        found.order.setdefault("query_offset", int(rng.integers(-1, n_k + 1)))
    return found


def _sizes(rng: np.random.Generator, cell: Cell, count: int) -> Host:
    """Return exponents of two: like those of scores, or anywhere in the dtype."""
    low, high = scales.RANGES[cell.dtype]
    if rng.integers(0, 5):
        return np.asarray(rng.integers(-6, 6) + rng.integers(-3, 2, count))
    top = int(rng.integers(low, high - 5))  # a sixteenth of the largest number is allowed
    return np.maximum(top - rng.geometric(0.4, count), low)


def _variant(posed: Posed, arrays: dict[str, Host]) -> Variant:
    return Variant(bias=arrays.get("bias"), softcap=posed.softcap, sinks=arrays.get("sinks"))


def _options(row: Row, posed: Posed, lib: Library, arrays: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call."""
    found = call_options(row, posed, lib) | {"softcap": posed.softcap}
    if "sinks" in arrays:
        found["sinks"] = arrays["sinks"][..., 0, 0]
    if "bias" in arrays:
        found["bias"] = arrays["bias"]
        if _is_function(posed):
            found["bias"] = _function(posed, lib)
    return found


def _is_function(posed: Posed) -> bool:
    """Tell whether the bias is given as a function of positions: one in three."""
    return "bias" in posed.arrays and posed.seed % 3 == 0


def _function(posed: Posed, lib: Library) -> Callable[[Any, Any], Any]:
    """Return the bias as a function of positions of queries and of keys."""
    offset = posed.order.get("query_offset", 0)
    shape = posed.count, posed.arrays["q"].shape[-2], posed.arrays["k"].shape[-2]
    whole = np.broadcast_to(posed.arrays["bias"], shape)

    def at(i: Any, j: Any) -> Any:
        rows, keys = lib.get(i).astype(int) - offset, lib.get(j).astype(int)
        return lib.put(whole[:, rows, keys])

    return at


def varied_forward(row: Row, posed: Posed, lib: Library, arrays: dict[str, Any]) -> Seen:
    """Call `attention` once, and ask for the log-sum-exp where there is one."""
    lse = "sinks" not in arrays and not row.method.why_no_lse
    options = _options(row, posed, lib, arrays) | {"return_lse": lse}
    out = aa.attention(arrays["q"], arrays["k"], arrays["v"], row.method, **options)
    a, value = posed.cleaned(), lib.get(out.value)
    given: dict[str, Any] = {"scale": posed.scale, "visible": posed.visible()}
    variant = _variant(posed, a)
    exact = variants.attention(a["q"], a["k"], a["v"], variant, **given)
    balls = _balls(posed, value, variant_balls.attention_rows)
    seen = Seen(claims=[row_claim("out", value, out.certificate.rows, exact, enclose=balls)])
    seen.dtypes.append(("out", str(value.dtype), str(posed.arrays["q"].dtype)))
    if lse:
        exact = variants.log_sum_exp(a["q"], a["k"], variant, **given)
        seen.claims.append(_lse_claim(posed, lib.get(out.lse), out.certificate.lse, exact))
    return seen


def _lse_claim(posed: Posed, lse: Host, bounds: Any, exact: Exact) -> Claim:
    """Return the claim about the log-sum-exp, which is -inf for a query that sees no key."""
    none = ~posed.seen().any(axis=-1)
    value = np.where(none & (lse == -np.inf), 0, lse)[..., None]
    balls = _balls(posed, value, variant_balls.lse_rows)
    return row_claim("lse", value, bounds, exact, enclose=balls)


def varied_backward(row: Row, posed: Posed, lib: Library, arrays: dict[str, Any]) -> Seen:
    """Call `attention_vjp` once."""
    q, k, v, g = (arrays[n] for n in "qkvg")
    grads = aa.attention_vjp(q, k, v, g, row.method, **_options(row, posed, lib, arrays))
    a, seen = posed.cleaned(), Seen()
    given: dict[str, Any] = {"scale": posed.scale, "visible": posed.visible()}
    exact = variants.gradient(a["q"], a["k"], a["v"], a["g"], _variant(posed, a), **given)
    for part, name in (("dq", "q"), ("dk", "k"), ("dv", "v")):
        value, bounds = lib.get(getattr(grads, part)), getattr(grads.certificate, part)
        seen.dtypes.append((part, str(value.dtype), str(posed.arrays[name].dtype)))
        balls = _balls(posed, value, _part(part))
        seen.claims.append(row_claim(part, value, bounds, getattr(exact, part), enclose=balls))
    return seen


def _part(part: str) -> Callable[[variant_balls.Single, int], Any]:
    return lambda one, bits: variant_balls.gradient_rows(one, part, bits)


def _balls(
    posed: Posed, value: Host, make: Callable[[variant_balls.Single, int], Any]
) -> Callable[[int], Ends]:
    """Return what encloses one item's errors in balls."""

    def enclose(item: int) -> Ends:
        one = single(posed, item)
        return ends(value[item], lambda bits: make(one, bits))

    return enclose


def single(posed: Posed, item: int) -> variant_balls.Single:
    """Return one of the problems for the balls."""
    a = {name: x[item].astype(np.float64) for name, x in posed.cleaned().items()}
    visible = np.broadcast_to(posed.visible(), (posed.count, len(a["q"]), len(a["k"])))[item]
    return variant_balls.Single(
        **{name: a[name] for name in ("q", "k", "v", "g")},
        scale=posed.scale,
        visible=np.asarray(visible),
        variant=_variant(posed, a),
    )
