"""Examine an attention function: accuracy against ball arithmetic, laws, masks, dtypes,
bad input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from approxattn.testing.attention import Attention
from approxattn.testing.calls import Host, told_error
from approxattn.testing.examining import law_finding
from approxattn.testing.findings import Examination, Finding
from approxattn.testing.frameworks import Framework
from approxattn.testing.laws import DERIVATIVES, LAWS, PLAIN
from approxattn.testing.problem import SHORT, Problem
from approxattn.testing.subject import Subject
from proofs_check.arithmetic.balls import exact_attention, max_error
from proofs_check.kit.gradient import THRESHOLD, gradient_findings

_ROWS = 4
"""Rows of a problem with more than 16 tokens that are compared with balls. *Chosen*: its other rows
are compared with each other by the laws.
"""


def check_attention(
    function: Callable[..., Any],
    *,
    gradient: Callable[..., Any] | Literal["autograd"] | None = None,
    exact: bool = True,
    scale: float | None = None,
    leading: int = 0,
    square: bool = False,
    framework: Framework = "numpy",
    put: Callable[[Host], Any] | None = None,
    get: Callable[[Any], Host] | None = None,
    options: Mapping[str, Any] | None = None,
    sizes: Sequence[int] | None = None,
    multiple_of: int = 1,
    by_design: Mapping[str, str] | None = None,
    seed: int = 0,
) -> Examination:
    """Examine ``function(q, k, v) -> output`` in this process.

    Whatever the function raises is a failed check, SystemExit included; only an interrupt from the
    keyboard gets through. Settings of the process that it changes are put back. Against a function
    that ends the process, or hangs, only another process helps: ``proofs_check audit`` takes one.

    Parameters
    ----------
    function : callable
        Softmax attention, or an approximation of it. A keyword ``causal`` or
        ``is_causal`` is tried when there is one, and so are ``key_mask`` (bool, shape (n_k,), True
        where a key takes part), ``query_offset`` (position of query 0 among the keys, with a causal
        mask), ``window`` or ``window_size`` (keys before, keys after) and ``segments`` (int, shape
        (n,), numbers of packed sequences).
    gradient : callable or "autograd", optional
        ``gradient(q, k, v, dout) -> (dq, dk, dv)``, examined against enclosed gradients of softmax
        attention; with torch ``"autograd"`` takes that of the function itself.
    exact : bool
        Whether the function claims to be exact up to rounding. An approximation is only compared
        with what the zero output and the mean of V would reach.
    scale : float or None
        Factor of q . k in the function; None is 1/sqrt(d).
    leading : int
        Number of leading axes that the function needs, for example 2 for (batch, heads, n, d). With
        0 a batch of two is tried too, when the function takes one.
    square : bool
        Whether it needs as many queries as keys, as self-attention does.
    framework : {"numpy", "torch"}
        Whose arrays the function takes. torch is imported only when it is named here.
    put, get : callable, optional
        Host array to another library's array and back, in the place of `framework`.
    options : mapping, optional
        Further keyword arguments of the function.
    sizes : sequence of int, optional
        Numbers of tokens to try; no check uses more than the largest. 1 to 1,000 unless given,
        around the ends of blocks of 16, 64, 128 and 256.
    multiple_of : int
        What divides every number of tokens that the function takes.
    by_design : mapping of str to str, optional
        Check -> why the function is not meant to pass it. A failure named here is reported with its
        reason and does not count.
    seed : int
        Of the problems.

    Returns
    -------
    Examination
        One finding a check; `print` shows them as a table, `ok` says whether all held.

    Raises
    ------
    ValueError
        For an unknown framework, a name in `by_design` that no check has, a scale that is not
        finite, sizes that are no multiples, or ``gradient="autograd"`` without torch.
    """
    attention = Attention(
        function,
        framework=framework,
        leading=leading,
        square=square,
        exact=exact,
        scale=scale,
        options=options or {},
        gradient=gradient,
        sizes=sizes,
        multiple_of=multiple_of,
        put=put,
        get=get,
    )
    return examine(attention.subject(), attention.problems(seed), by_design=by_design or {})


def examine(
    subject: Subject, posed: Sequence[Problem], *, by_design: Mapping[str, str]
) -> Examination:
    """Examine a function wherever it runs."""
    asked = [n for n in LAWS if n not in PLAIN and (n not in DERIVATIVES or subject.gradient)]
    findings = [*_accuracy(subject, posed), *(law_finding(subject, posed, n) for n in asked)]
    if subject.gradient is not None:
        short = [p for p in posed if p.k.shape[0] <= SHORT[-1]] or posed[:1]
        findings += gradient_findings(subject, short)
    findings += subject.record.findings()
    return Examination(subject=subject.caller.name, findings=tuple(_excused(findings, by_design)))


def _excused(findings: Sequence[Finding], by_design: Mapping[str, str]) -> Iterator[Finding]:
    """The findings, failures named in `by_design` put as what they are; an exception is never by
    design.
    """
    unknown = sorted(set(by_design) - {finding.name for finding in findings})
    if unknown:
        msg = (
            f"by_design(={unknown[0]!r} among others) names no check: take the names from the "
            "report"
        )
        raise ValueError(msg)
    for finding in findings:
        reason = (
            by_design.get(finding.name, "") if finding.held is False and not finding.raised else ""
        )
        detail = f"by design, {reason}: {finding.detail}"
        yield replace(finding, held=None, detail=detail) if reason else finding


def _accuracy(subject: Subject, posed: Sequence[Problem]) -> Iterator[Finding]:
    """Largest ratio in each dtype; for an approximation the relative error beside its null
    baselines.
    """
    for dtype in ("float64", "float32"):
        name = f"accuracy in {dtype}"
        try:
            measure = _ratio if subject.exact else _against_nulls
            yield measure(subject, posed, dtype, name)
        except Exception as error:  # noqa: BLE001 - numbers of any kind may upset the comparison
            yield Finding(name=name, held=False, detail=told_error(error), error=error)


def _ratio(subject: Subject, posed: Sequence[Problem], dtype: str, name: str) -> Finding:
    """|error| / (u (1 + largest sum of |q_c k_c| beta) max|v|), the error rounded up."""
    u, worst, where = float(np.finfo(dtype).eps) / 2, 0.0, ""
    for problem in (p.astype(dtype) for p in posed):
        out = subject(problem.q, problem.k, problem.v)
        if not np.all(np.isfinite(out)):
            return Finding(name=name, held=False, detail=f"NaN or infinity for {problem.name}")
        rows = _compared(out.shape[0])
        q, k, v = (x.astype(np.float64) for x in (problem.q[rows], problem.k, problem.v))
        beta = subject.beta(q.shape[1])
        error = max_error(out[rows].astype(np.float64), exact_attention(q, k, v, scale=beta))[1]
        size = 1 + beta * float(np.max(np.abs(q) @ np.abs(k).T))
        ratio = error / (u * size * max(float(np.max(np.abs(v))), 1e-300))
        worst, where = max((worst, where), (ratio, problem.name))
    return Finding(
        name=name,
        held=worst <= THRESHOLD,
        detail=f"largest ratio {worst:.3g}, threshold {THRESHOLD:g} ({where})",
    )


def _compared(n: int) -> Host:
    """Rows that are compared: all of a few, else some from the first to the last."""
    return np.arange(n) if n <= SHORT[-1] else np.linspace(0, n - 1, _ROWS).astype(int)


def _against_nulls(subject: Subject, posed: Sequence[Problem], dtype: str, name: str) -> Finding:
    """Median relative Frobenius error, next to that of the zero output (1) and of the mean of V; it
    must beat both.
    """
    errors, means = [], []
    for problem in (p.astype(dtype) for p in posed if p.k.shape[0] > 1 and "large" not in p.name):
        out, rows = subject(problem.q, problem.k, problem.v), _compared(problem.q.shape[0])
        q, k, v = (x.astype(np.float64) for x in (problem.q[rows], problem.k, problem.v))
        enclosed = exact_attention(q, k, v, scale=subject.beta(q.shape[1]))
        true = np.array([[float(x) for x in row] for row in enclosed])
        size = float(np.linalg.norm(true))
        errors.append(float(np.linalg.norm(out[rows] - true)) / size)
        means.append(float(np.linalg.norm(np.mean(v, axis=0) - true)) / size)
    error, mean = float(np.median(errors)), float(np.median(means))
    held = error < min(1.0, mean)
    return Finding(
        name=name,
        held=held,
        detail=f"median relative error {error:.3g}; mean of V {mean:.3g}, zero output 1",
    )
