"""Claims about our own gradients: what `attention_vjp` returns is within its certificate.

Each is a claim about the exact gradient, in float64 and in float32.

As in `certificates`, a search that finds nothing proves nothing; the largest error / bound it found
is the tightness of the line. The error is that of dq, dk and dv row by row, held against enclosed
gradients. Its certain part counts, since the balls around a gradient that vanishes do not vanish.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from proofs_check.arithmetic.balls import ball, precision
from proofs_check.arithmetic.gradient_balls import exact_attention_gradient
from proofs_check.papers.our_code import calls as problems
from proofs_check.papers.shared.source import our_code
from proofs_check.statements.experiment import Assumption, Falsify, Instance
from proofs_check.statements.theorem import Theorem
from proofs_check.statements.verdict import Status

_BITS = 300
"""Working precision. *Chosen*: the bound of a gradient that underflows is 2^-1000 beside inputs of
ordinary size, but such ratios decide nothing.
"""

_FAR = 2**1000
"""Stands for the distance of NaN and infinity from any number."""


def _posed(methods: tuple[Mapping[str, Any], ...], dtype: str, divisor: int | Fraction) -> Any:
    """Problems of `calls` with a cotangent of small integers, some rows zero, from
    the seed of the instance.
    """

    def with_cotangent(instance: dict[str, Any]) -> dict[str, Any]:
        rng = np.random.default_rng(instance["seed"])
        g = rng.integers(-3, 4, (instance["q"].shape[0], instance["v"].shape[1])) * (
            rng.random((instance["q"].shape[0], 1)) < 0.8
        )
        return {**instance, "dout": (g * 2.0 ** rng.choice([0, 0, 3, -20])).astype(dtype)}

    return problems.problems(methods, dtype, divisor=divisor, exponents=(0, 0, -1, -9)).map(
        with_cotangent
    )


def _gradients(instance: Instance) -> Any:
    import approxattn

    settings = dict(instance["method"])
    method = getattr(approxattn, settings.pop("name"))(**settings)
    mask = None if instance["key_mask"].all() else instance["key_mask"]
    q, k, v, dout = (instance[name] for name in ("q", "k", "v", "dout"))
    return approxattn.attention_vjp(
        q, k, v, dout, method, scale=_scale(instance), causal=instance["causal"], key_mask=mask
    )


def _scale(instance: Instance) -> float | None:
    return 1 / instance["scaled_by"] if instance["scaled_by"] else None


def accepted(instance: Instance) -> bool:
    """Whether the method computes the gradient rather than refuse it with a ValueError."""
    try:
        _gradients(instance)
    except ValueError:
        return False
    return True


def worst(instance: Instance) -> Any:
    """Largest certain error / bound over the entries of dq, dk and dv whose row has a finite bound,
    as a ball.
    """
    grads = _gradients(instance)
    q, k, v, dout = (instance[name].astype(np.float64) for name in ("q", "k", "v", "dout"))
    options: dict[str, Any] = {
        "scale": _scale(instance),
        "causal": instance["causal"],
        "key_mask": instance["key_mask"],
        "bits": _BITS,
    }
    enclosed = exact_attention_gradient(q, k, v, dout, **options)
    largest = ball(0)
    with precision(_BITS):
        for name, rows in zip(("dq", "dk", "dv"), enclosed, strict=True):
            for value, bound, row in zip(
                getattr(grads, name), getattr(grads.certificate, name), rows, strict=True
            ):
                for x, y in zip(value, row, strict=True) if np.isfinite(bound) else ():
                    gap = abs(ball(float(x)) - y).lower() if np.isfinite(x) else ball(_FAR)
                    if gap > 0:
                        ratio = gap * ball(instance["divisor"]) / ball(float(bound))
                        largest = ratio if not ratio.is_finite() or ratio > largest else largest
        return largest


def measured(instance: Instance) -> float:
    """Error / bound where it is largest."""
    return float(worst(instance))


def whole(instance: Instance) -> float:
    """Return 1: an error may use its bound up."""
    del instance
    return 1.0


def confirm(instance: Instance) -> tuple[Any, Any]:
    """The same, as a ball."""
    return worst(instance), 1


_ACCEPTED = Assumption(
    text="the method accepts the problem, as in the claims about its output", predicate=accepted
)


def _theorem(
    name: str,
    title: str,
    methods: tuple[Mapping[str, Any], ...],
    divisor: int | Fraction,
    tries: int,
) -> Theorem:
    def experiment(dtype: str, of: int | Fraction = 1) -> Falsify:
        return Falsify(
            instances=functools.partial(_posed, methods, dtype, of),
            measured=measured,
            bound=whole,
            confirm=confirm,
            assumptions=(_ACCEPTED,),
            tries=tries,
            covers="statement",
            scope=(
                f"{dtype}; n from 1 to 64, d from 1 to 4: integers and thirds times powers of two, "
                "ties, zero rows, masks"
            ),
        )

    return Theorem(
        key=f"code.gradient-{name}",
        title=f"the gradient of {title} stays within its certificate",
        statement=(
            f"The computed dq, dk and dv of {title} are within their certificate of the gradient "
            "of softmax attention, row by row, in float64 and float32."
        ),
        source=our_code(f"approxattn.{methods[0]['name']}"),
        reading=(
            "max over entries of |computed - exact| / bound of the row <= 1; a row without a "
            "finite bound claims nothing"
        ),
        assumptions=(_ACCEPTED,),
        experiments=tuple(experiment(dtype) for dtype in ("float64", "float32")),
        expected=Status.INCONCLUSIVE,  # a search that finds nothing proves nothing
        mutant=experiment("float64", divisor),
        uses=("ours.gradient",),
        remarks=(f"Mutant: the certificate divided by {divisor}.",),
    )


THEOREMS = (
    _theorem("exact", "Exact", ({"name": "Exact"},), 96, 300),
    _theorem(
        "polynomial",
        "Polynomial with an even Taylor basis",
        tuple(
            {"name": "Polynomial", "basis": "taylor", "degree": g, "gradient": kind}
            for g in (2, 4)
            for kind in ("plug-in", "consistent")
        ),
        Fraction(5, 4),
        300,
    ),
)
