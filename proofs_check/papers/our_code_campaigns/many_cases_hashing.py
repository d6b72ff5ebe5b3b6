"""Claims about our hashing code, each held against ten thousand problems by a binomial test.

The problems are random and adversarial; the test is exact.

Problems have n = 1 .. 24 keys, few or many queries and d = 1 .. 8, in float32 and float64. Tokens
are random or clustered, with duplicate keys, antipodal keys or zero rows. They lie all in one
bucket, or one key at a right angle (a fair coin for each hash). Rows and values have sizes
2^-40 .. 2^40; keys are masked, arrays are not contiguous.

An output or a gradient that is NaN, or further from its target than its
certificate, is a failure. Targets are computed here, in extended precision, with angles 2 atan2(|a
- b|, |a + b|) of unit rows, which are right to the last places at every angle.

Certificates with a probability must fail in at most 1 - confidence of the problems. Sure ones must
never; twenty thousand problems without one support "at most 1 in 1000" at any level in use.
Thousands of runs of the code: only in campaigns with the full budget.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from proofs_check.papers.shared.source import our_code
from proofs_check.statements.experiment import Plan, Sample
from proofs_check.statements.theorem import Theorem
from proofs_check.statements.verdict import Status

CASES = 10_000
STYLES = ("random", "clustered", "duplicate", "antipodal", "zero", "one bucket", "coin", "sizes")

Problem = dict[str, Any]

# --- problems -------------------------------------------------------------------------------------


def problem(rng: np.random.Generator) -> Problem:
    """Draw q, k, v, a cotangent and a mask."""
    style = STYLES[rng.integers(len(STYLES))]
    n = int(rng.choice((1, 1, 2, 3, 5, 8, 13, 24)))
    m, d, dv = int(rng.choice((1, n))), int(rng.integers(1, 9)), int(rng.integers(1, 4))
    if style == "coin":
        n, m, d, dv = 1, 1, 2, 1
    q, k, v, g = (rng.standard_normal(shape) for shape in ((m, d), (n, d), (n, dv), (m, dv)))
    q, k, v = _styled(style, q, k, v, rng)
    dtype = ("float32", "float64")[rng.integers(2)]
    mask = None
    if rng.random() < 0.3:
        mask = rng.random(n) < 0.6
        mask[rng.integers(n)] = True
    arrays = {name: x.astype(dtype) for name, x in (("q", q), ("k", k), ("v", v), ("g", g))}
    if rng.random() < 0.3:
        arrays = {
            name: np.asfortranarray(np.repeat(x, 2, axis=0))[::2] for name, x in arrays.items()
        }
    return {**arrays, "mask": mask, "seed": int(rng.integers(2**32)), "style": style}


def _styled(style: str, q: Any, k: Any, v: Any, rng: np.random.Generator) -> tuple[Any, Any, Any]:
    n, d = k.shape
    if style == "clustered":
        centres = rng.standard_normal((2, d))
        q, k = (centres[rng.integers(0, 2, len(x))] + 1e-3 * x for x in (q, k))
    elif style == "duplicate":
        k = k[rng.integers(0, min(n, 2), n)]
        q = k[rng.integers(0, n, len(q))]
    elif style == "antipodal":
        k = q[rng.integers(0, len(q), n)] * rng.choice((-1.0, -3.0, 1.0), (n, 1))
    elif style == "zero":
        q, k = (np.where(rng.random((len(x), 1)) < 0.5, 0.0, x) for x in (q, k))
    elif style == "one bucket":
        q, k = (
            np.tile(q[:1], (len(x), 1)) * rng.choice((0.5, 1.0, 2.0), (len(x), 1)) for x in (q, k)
        )
    elif style == "coin":
        q, k, v = np.eye(2)[:1], np.eye(2)[1:], np.ones_like(v)
    elif style == "sizes":
        q, k = (x * 2.0 ** rng.integers(-40, 2, (len(x), 1)) for x in (q, k))
        v = v * 2.0 ** rng.integers(-40, 41)
    return q, k, v


# --- targets --------------------------------------------------------------------------------------


def _units(x: Any) -> Any:
    """Rows divided by their lengths, zero rows left, one more axis in which zero rows
    point alone.
    """
    x = x.astype(np.longdouble)
    zero = ~x.any(axis=1)
    top = np.where(zero, 1, np.abs(x).max(axis=1))[:, None]
    x = x / top
    return np.concatenate(
        [x / np.where(zero, 1, np.sqrt((x * x).sum(axis=1)))[:, None], zero[:, None]], axis=1
    )


def _weights(case: Problem, bits: int) -> tuple[Any, Any, Any]:
    """(1 - theta/pi)^bits, 0 for masked keys, shape (m, n), and the unit rows."""
    a, b = _units(case["q"]), _units(case["k"])
    apart, along = (np.sqrt(((a[:, None] + s * b) ** 2).sum(axis=-1)) for s in (-1, 1))
    p = (1 - 2 * np.arctan2(apart, along) / np.longdouble(np.pi)) ** bits
    return (p if case["mask"] is None else p * case["mask"]), a[:, :-1], b[:, :-1]


def _yoso_target(case: Problem, settings: Mapping[str, Any]) -> Any:
    out = _weights(case, settings["bits"])[0] @ case["v"].astype(np.longdouble)
    return _units(out)[:, :-1] if settings.get("normalize") else out


def _surrogate_target(case: Problem, bits: int) -> tuple[Any, Any, Any]:
    """dq, dk, dv of the surrogate gradient of YOSO-E, the slope of a weight being (bits/2) p."""
    p, a, b = _weights(case, bits)
    v, g = case["v"].astype(np.longdouble), case["g"].astype(np.longdouble)
    w = (g @ v.T) * p * bits / 2
    x = a @ b.T
    dq, dk = w @ b - (w * x).sum(1, keepdims=True) * a, w.T @ a - (w * x).sum(0)[:, None] * b
    lengths = [
        np.sqrt((case[name].astype(np.longdouble) ** 2).sum(1, keepdims=True)) for name in "qk"
    ]
    dq, dk = (
        np.where(s > 0, y / np.where(s > 0, s, 1), 0)
        for y, s in zip((dq, dk), lengths, strict=True)
    )
    return dq, dk, p.T @ g


def _softmax_target(case: Problem) -> Any:
    q, k, v = (case[name].astype(np.longdouble) for name in "qkv")
    s = q @ k.T / np.sqrt(np.longdouble(q.shape[1]))
    s = s if case["mask"] is None else np.where(case["mask"], s, -np.inf)
    w = np.exp(s - s.max(axis=1, keepdims=True))
    return w @ v / w.sum(axis=1, keepdims=True)


# --- failures -------------------------------------------------------------------------------------


def _exceeds(found: Any, target: Any, rows: Any, size: float, divisor: int) -> bool:
    """Whether some row is NaN or further from its target than its bound; a target counts as off by
    2^-57 of `size` where it is not hit exactly.
    """
    error = np.abs(found.astype(np.longdouble) - target).max(axis=-1)
    error = np.where(error > 0, error + 2.0**-57 * size, 0)
    return bool(not np.isfinite(found).all() or np.any(error > rows / divisor))


def _options(case: Problem) -> dict[str, Any]:
    return {} if case["mask"] is None else {"key_mask": case["mask"]}


def output_fails(case: Problem, settings: Mapping[str, Any], divisor: int = 1) -> bool:
    """Whether the output of a method exceeds its certificate."""
    import approxattn

    options = dict(settings)
    method = getattr(approxattn, options.pop("name"))(**options)
    rng = np.random.default_rng(case["seed"]) if method.randomised else None
    out = approxattn.attention(case["q"], case["k"], case["v"], method, rng=rng, **_options(case))
    yoso = settings["name"].startswith("Yoso")
    target = _yoso_target(case, settings) if yoso else _softmax_target(case)
    size = 1.0 if settings.get("normalize") else float(np.abs(case["v"]).sum(axis=0).max())
    return _exceeds(out.value, target, out.certificate.rows, size, divisor)


def gradient_fails(case: Problem, settings: Mapping[str, Any], divisor: int = 1) -> bool:
    """Whether dq, dk or dv of the sampled gradient exceeds its certificate."""
    import approxattn

    options = {name: x for name, x in settings.items() if name != "name"}
    method, rng = approxattn.Yoso(**options), np.random.default_rng(case["seed"])
    grads = approxattn.attention_vjp(
        case["q"], case["k"], case["v"], case["g"], method, rng=rng, **_options(case)
    )
    target = _surrogate_target(case, settings["bits"])
    rows = grads.certificate.dq, grads.certificate.dk, grads.certificate.dv
    found = grads.dq, grads.dk, grads.dv
    return any(
        _exceeds(f, t, r, float(np.abs(t).max()), divisor)
        for f, t, r in zip(found, target, rows, strict=True)
    )


def draw(
    fails: Any,
    methods: tuple[Mapping[str, Any], ...],
    divisor: int,
    rng: np.random.Generator,
    m: int,
) -> Any:
    """Return for m problems, each with one of the methods, whether it fails."""
    return np.array(
        [fails(problem(rng), methods[rng.integers(len(methods))], divisor) for _ in range(m)],
        dtype=bool,
    )


# --- theorems -------------------------------------------------------------------------------------

_COMMON = {"name": "Yoso", "zero_rows": "orthogonal"}
_SIZES = ((1, 32), (2, 16), (4, 64), (8, 16))
HOEFFDING = tuple(
    {**_COMMON, "bits": b, "hashes": m, "normalize": u} for b, m in _SIZES for u in (False, True)
)
BERNSTEIN = tuple({**_COMMON, "bits": b, "hashes": m, "bound": "bernstein"} for b, m in _SIZES)
SAMPLED = tuple({**_COMMON, "bits": b, "hashes": m, "gradient": "sampled"} for b, m in _SIZES)
SURE: tuple[Mapping[str, Any], ...] = (
    *(
        {"name": "YosoExpectation", "bits": b, "normalize": u, "zero_rows": "orthogonal"}
        for b in (1, 8)
        for u in (False, True)
    ),
    *(
        {"name": "BertLSH", "bits": b, "tables": t, "fill": f, "sparse": s}
        for b, t in ((1, 1), (3, 2))
        for f in (0.0, float("-inf"))
        for s in (False, True)
    ),
    *(
        {"name": "LSHSoftmax", "bits": b, "tables": t, "radius": r}
        for b, t, r in ((1, 1, 0), (3, 2, 0), (4, 2, 1))
    ),
)
"""Settings that the problems are tried with."""


def _theorem(
    key: str,
    what: str,
    fails: Any,
    methods: tuple[Mapping[str, Any], ...],
    target: float,
    divisor: int,
    n: int = CASES,
) -> Theorem:
    plan: dict[str, Any] = {"claim": "probability <=", "target": target, "chunk": 500}
    sampler = f"{n} problems of {len(STYLES)} styles and the hashes of each"
    return Theorem(
        key=f"code.hashing-{key}",
        title=f"{what}: {n} problems",
        statement=(
            f"{what} is a number and within its certificate except with probability at most "
            f"{target:g}, over random and adversarial problems and the draws."
        ),
        source=our_code(" and ".join(sorted({f"approxattn.{m['name']}" for m in methods}))),
        reading="one event a problem: any NaN, or any row above its bound",
        experiments=(
            Sample(
                draw=functools.partial(draw, fails, methods, 1),
                plan=Plan(n=n, sampler=sampler, fixed=True),
                covers="statement",
                scope="n up to 24, float32 and float64",
                **plan,
            ),
        ),
        expected=Status.SUPPORTED,
        mutant=Sample(
            draw=functools.partial(draw, fails, methods, divisor),
            plan=Plan(n=600, sampler=sampler),
            covers="statement",
            scope=f"the certificate divided by {divisor}",
            **plan,
        ),
    )


THEOREMS = (
    _theorem(
        "hoeffding", "The output of Yoso under Hoeffding's bound", output_fails, HOEFFDING, 0.01, 4
    ),
    _theorem(
        "bernstein", "The output of Yoso under Bernstein's bounds", output_fails, BERNSTEIN, 0.01, 4
    ),
    _theorem("sampled-gradient", "The sampled gradient of Yoso", gradient_fails, SAMPLED, 0.01, 8),
    _theorem(
        "sure",
        "The output of YosoExpectation, BertLSH and LSHSoftmax",
        output_fails,
        SURE,
        0.001,
        16,
        n=2 * CASES,
    ),
)
