"""Examine an attention function: accuracy against ball arithmetic, laws, masks, dtypes,
bad input.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from proofs_check.arithmetic.balls import exact_attention, max_error
from proofs_check.kit.calls import Caller, Host, Left, Local, told_error
from proofs_check.kit.conduct import look_up_thread_pools
from proofs_check.kit.findings import Examination, Finding
from proofs_check.kit.frameworks import Framework, autograd, conversions
from proofs_check.kit.gradient import gradient_findings
from proofs_check.kit.laws import LAWS
from proofs_check.kit.problems import THRESHOLD, Problem, Subject, problems


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
        Softmax attention, or an approximation of it. A keyword ``causal`` or ``is_causal`` is tried
        when there is one, and so is ``key_mask`` (bool, shape (n_k,), True where a key takes part).
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
        finite, or ``gradient="autograd"`` without torch.
    """
    convert, back = conversions(framework)
    if gradient == "autograd":
        if framework != "torch":
            msg = (
                f"gradient(='autograd') needs framework='torch', not {framework!r}: give the "
                "gradient as a function"
            )
            raise ValueError(msg)
        gradient = autograd(function, dict(options or {}))

    look_up_thread_pools()

    def local(called: Callable[..., Any]) -> Local:
        return Local(
            function=called,
            put=put or convert,
            get=get or back,
            options=dict(options or {}),
            plain=framework == "numpy" and get is None,
        )

    return examine(
        local(function),
        None if gradient is None else local(gradient),
        exact=exact,
        scale=scale,
        leading=leading,
        square=square,
        by_design=by_design or {},
        seed=seed,
    )


def examine(
    function: Caller,
    gradient: Caller | None,
    *,
    exact: bool,
    scale: float | None,
    leading: int,
    square: bool,
    by_design: Mapping[str, str],
    seed: int = 0,
) -> Examination:
    """Examine a function wherever it runs; the parameters are those of `check_attention`."""
    if scale is not None and not math.isfinite(scale):
        msg = f"scale(={scale}) must be a finite number, or None for 1/sqrt(d)"
        raise ValueError(msg)
    subject = Subject(caller=function, scale=scale, leading=leading, square=square)
    posed = list(problems(np.random.default_rng(seed)))
    findings = [
        *_accuracy(subject, posed, exact=exact),
        *(_law(subject, posed, name) for name in LAWS),
    ]
    if gradient is not None:
        findings += gradient_findings(subject, gradient, posed, exact=exact)
    findings += subject.record.findings()
    return Examination(subject=function.name, findings=tuple(_excused(findings, by_design)))


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


def _accuracy(subject: Subject, posed: list[Problem], *, exact: bool) -> Iterator[Finding]:
    """Largest ratio in each dtype; for an approximation the relative error beside its null
    baselines.
    """
    for dtype in ("float64", "float32"):
        name = f"accuracy in {dtype}"
        try:
            yield (
                _ratio(subject, posed, dtype, name)
                if exact
                else _against_nulls(subject, posed, dtype, name)
            )
        except Exception as error:  # noqa: BLE001 - numbers of any kind may upset the comparison
            yield Finding(name=name, held=False, detail=told_error(error), raised=True)


def _ratio(subject: Subject, posed: list[Problem], dtype: str, name: str) -> Finding:
    """|error| / (u (1 + largest sum of |q_c k_c| beta) max|v|), the error rounded up."""
    u, worst, where = float(np.finfo(dtype).eps) / 2, 0.0, ""
    for problem in (p.astype(dtype) for p in posed):
        out = subject(problem.q, problem.k, problem.v)
        wide = [x.astype(np.float64) for x in (problem.q, problem.k, problem.v)]
        if not np.all(np.isfinite(out)):
            return Finding(name=name, held=False, detail=f"NaN or infinity for {problem.name}")
        error = max_error(
            out.astype(np.float64), exact_attention(*wide, scale=subject.beta(wide[0].shape[1]))
        )[1]
        size = 1 + subject.beta(wide[0].shape[1]) * float(
            np.max(np.abs(wide[0]) @ np.abs(wide[1]).T)
        )
        ratio = error / (u * size * max(float(np.max(np.abs(wide[2]))), 1e-300))
        worst, where = max((worst, where), (ratio, problem.name))
    return Finding(
        name=name,
        held=worst <= THRESHOLD,
        detail=f"largest ratio {worst:.3g}, threshold {THRESHOLD:g} ({where})",
    )


def _against_nulls(subject: Subject, posed: list[Problem], dtype: str, name: str) -> Finding:
    """Median relative Frobenius error, next to that of the zero output (1) and of the mean of V; it
    must beat both.
    """
    errors, means = [], []
    for problem in (p.astype(dtype) for p in posed if p.k.shape[0] > 1 and "large" not in p.name):
        wide = [x.astype(np.float64) for x in (problem.q, problem.k, problem.v)]
        true = np.array(
            [
                [float(x) for x in row]
                for row in exact_attention(*wide, scale=subject.beta(wide[0].shape[1]))
            ]
        )
        size = float(np.linalg.norm(true))
        errors.append(float(np.linalg.norm(subject(problem.q, problem.k, problem.v) - true)) / size)
        means.append(float(np.linalg.norm(np.mean(wide[2], axis=0) - true)) / size)
    error, mean = float(np.median(errors)), float(np.median(means))
    held = error < min(1.0, mean)
    return Finding(
        name=name,
        held=held,
        detail=f"median relative error {error:.3g}; mean of V {mean:.3g}, zero output 1",
    )


def _law(subject: Subject, posed: list[Problem], name: str) -> Finding:
    """One law on all problems; the first failure is shown, with the number of problems
    that fail.
    """
    asked, failed, first, raised = 0, 0, "", False
    for problem in posed:
        left = False
        try:
            complaint = LAWS[name](subject, problem)
        except Exception as error:  # noqa: BLE001 - numbers of any kind may upset the comparison
            complaint, raised, left = told_error(error), True, isinstance(error, Left)
        if complaint is NotImplemented:
            continue
        asked += 1
        if complaint:
            failed += 1
            first = first or f"{complaint} ({problem.name}"
        if left:  # it would do so again, and every new process takes its time
            break
    if not asked:
        return Finding(name=name, held=None, detail="the function has no such form")
    detail = f"{first}; {failed} of {asked} problems)" if failed else ""
    return Finding(name=name, held=not failed, detail=detail, raised=raised)
