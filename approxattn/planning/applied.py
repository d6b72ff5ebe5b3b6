"""Attention by a plan: each head by its method, and a running check that mends what drifted."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from approxattn import _arrays
from approxattn._arguments import check_generator, check_rows
from approxattn._arrays import Array
from approxattn._problem import Scoring
from approxattn.certificate import Approximation
from approxattn.certificate.record import Record
from approxattn.planning.parts import Call, Part, joined
from approxattn.planning.samples import Found, Sample, sampled

if TYPE_CHECKING:
    from approxattn.planning.record import Plan


class PlanWarning(UserWarning):
    """A head left the error that its plan was made for, and has another method now."""


@dataclass(frozen=True, kw_only=True, repr=False)
class HeadCheck(Record):
    """What rows recomputed say of one head.

    Attributes
    ----------
    head : tuple of int
        Its index.
    method : str
        What computed the output that was handed out.
    error : float
        Its relative Frobenius error on the rows drawn: an estimate.
    rows : int
        Rows drawn, over all items.
    largest : float
        Largest relative error of one of them, the rounding of recomputed rows included.
    exceeding : float
        With the plan's confidence, at most this share of the head's rows has a larger one
        (theorem `ours.audit-binomial`), where the head kept its method; the rows that chose another
        prove nothing of it.
    before : str
        What the plan named, where that left the error; else empty.
    error_before : float
        Its error on the same rows.
    """

    head: tuple[int, ...]
    method: str
    error: float
    rows: int
    largest: float
    exceeding: float
    before: str = ""
    error_before: float = 0.0

    _derived: ClassVar[tuple[str, ...]] = ("changed",)

    @property
    def changed(self) -> bool:
        """Whether the head has another method than the plan named."""
        return bool(self.before)

    def _summary(self) -> str:
        was = f" in the place of {self.before} with {self.error_before:.3g}" if self.before else ""
        return f"head {self.head}: {self.error:.3g} on {self.rows} rows by {self.method}{was}"

    def _table(self) -> dict[str, str]:
        return {
            "head": str(self.head),
            "method": self.method,
            "relative error, rows drawn": f"{self.error:.3g}",
            "largest of a row": f"{self.largest:.3g}",
            "larger in at most": f"{100 * self.exceeding:.3g} % of the rows",
            "in the place of": self.before or "none",
        }


@dataclass(frozen=True, kw_only=True, repr=False)
class PlannedApproximation(Approximation):
    """An attention output by a plan, its certificate, and what a running check found.

    Attributes
    ----------
    value, certificate, lse
        As in `Approximation`; `lse` is None.
    plan : Plan
        What computed it, with the methods that the check put in.
    checks : tuple of HeadCheck
        One for each head that was checked; empty without `audit`.
    """

    plan: Plan
    checks: tuple[HeadCheck, ...] = ()

    @property
    def changed(self) -> tuple[HeadCheck, ...]:
        """The heads that left their error."""
        return tuple(check for check in self.checks if check.changed)

    def _table(self) -> dict[str, str]:
        found = super()._table()
        if self.checks:
            worst = max(check.error for check in self.checks)
            found |= {
                "largest relative error of a head, rows drawn": f"{worst:.3g}",
                "heads that left their error": str(len(self.changed)),
            }
        return found


def apply(
    plan: Plan,
    arrays: tuple[Array, Array, Array],
    masks: Mapping[str, Any],
    options: Mapping[str, Any],
    audit: int | None,
    *,
    mend: bool = True,
) -> PlannedApproximation:
    """Return attention by a plan; see `Plan.attention`. Without `mend` heads keep their methods."""
    rng = options["rng"]
    if audit is not None:
        check_rows(audit)
        check_generator(rng, without="the audit draws its rows from it")
    call = _call(plan, arrays, dict(masks), dict(options))
    parts = [call.compute(heads, plan.heads[heads[0]].method) for heads in plan.groups().values()]
    checks: tuple[HeadCheck, ...] = ()
    if audit is not None:
        posed = Scoring(
            **masks,
            **{name: options[name] for name in Scoring._fields if name in options},
        )
        sample = sampled(*arrays, scoring=posed, shape=plan.shape, rows=audit, rng=rng)
        first = {head: found for part in parts for head, found in sample.errors(part).items()}
        named, last = plan, first
        if mend:
            plan, parts, last = _mended(plan, call, parts, sample, first)
        checks = tuple(_check(named, plan, sample, h, first[h], last[h]) for h in sorted(first))
        _warn(plan, checks)
    found = joined(parts, plan.shape, call.xp)
    return PlannedApproximation(
        value=found.value, certificate=found.certificate, plan=plan, checks=checks
    )


def _call(plan: Plan, arrays: Any, masks: dict[str, Any], options: dict[str, Any]) -> Call:
    q, k, v = arrays
    xp = _arrays.namespace(q=q, k=k, v=v)
    rank = len(plan.shape)
    if not plan.heads:
        msg = f"this plan has the shape {plan.shape}, and so no heads: there is nothing to compute"
        raise ValueError(msg)
    have = tuple(q.shape[:-2])[-rank:] if rank else ()
    if q.ndim < 2 + rank or have != plan.shape:
        msg = (
            f"q has shape {tuple(q.shape)}, but the plan is for heads of shape {plan.shape}: its "
            f"axes must be (..., {', '.join(map(str, (*plan.shape, 'n_q', 'd')))})"
        )
        raise ValueError(msg)
    for name, x, tail in _tokens(arrays, masks):
        if x.ndim > q.ndim - 2 + tail:
            msg = f"{name} has shape {tuple(x.shape)}: it has more leading axes than q, {q.shape}"
            raise ValueError(msg)
        if tail == 1 and x.ndim not in (1, q.ndim - 1):
            msg = (
                f"{name} has shape {tuple(x.shape)}: give it one axis, or all leading axes of q, "
                f"{tuple(q.shape[:-2])}, of length 1 where it is shared"
            )
            raise ValueError(msg)
        own = tuple(x.shape[:-tail])[-rank:] if rank else ()
        want = plan.shape[len(plan.shape) - len(own) :]
        if any(size not in (1, need) for size, need in zip(own, want, strict=True)):
            msg = f"{name} has the head axes {own}: they must broadcast to {plan.shape}"
            raise ValueError(msg)
    return Call(q=q, k=k, v=v, shape=plan.shape, masks=masks, options=options, xp=xp)


def _tokens(arrays: Any, masks: Mapping[str, Any]) -> list[tuple[str, Any, int]]:
    """Return every array, its name, and how many of its axes number no heads."""
    found = [(name, x, 2) for name, x in zip("kv", arrays[1:], strict=True)]
    for name, given in masks.items():
        several = given if isinstance(given, tuple | list) else (given,)
        found += [(name, x, 1) for x in several if hasattr(x, "shape")]
    return found


def _mended(
    plan: Plan, call: Call, parts: list[Part], sample: Sample, first: Mapping[int, Found]
) -> tuple[Plan, list[Part], dict[int, Found]]:
    """Return plan, parts and errors in which heads above the error have other methods: the next
    candidate, and exact attention where that is above it too.
    """
    last, heads = dict(first), list(plan.heads)
    for exact in (False, True):
        above = [
            h
            for h, head in enumerate(heads)
            if head.candidate is not None and not last[h].error <= plan.relative_error
        ]
        parts = [p for p in (part.without(above, call.xp) for part in parts) if p is not None]
        for head in above:
            heads[head] = plan.wider(heads[head], exact=exact)
        for name in dict.fromkeys(heads[h].name for h in above):
            own = [h for h in above if heads[h].name == name]
            parts.append(call.compute(own, heads[own[0]].method))
            last |= sample.errors(parts[-1])
    return replace(plan, heads=tuple(heads)), parts, last


def _check(
    named: Plan, used: Plan, sample: Sample, head: int, first: Found, last: Found
) -> HeadCheck:
    index = np.unravel_index(head, used.shape) if used.shape else ()
    before, now = named.heads[head].name, used.heads[head].name
    return HeadCheck(
        head=tuple(int(i) for i in index),
        method=now,
        error=last.error,
        rows=sample.rows,
        largest=last.largest,
        exceeding=sample.exceeding(used.confidence),
        before="" if now == before else before,
        error_before=first.error,
    )


def _warn(plan: Plan, checks: tuple[HeadCheck, ...]) -> None:
    changed = [check for check in checks if check.changed]
    if not changed:
        return
    worst = max(changed, key=lambda check: check.error_before)
    warnings.warn(
        f"{len(changed)} of {len(checks)} heads left the relative error {plan.relative_error:g} on "
        f"{worst.rows} rows and have other methods now; the worst, head {worst.head}: "
        f"{worst.error_before:.3g} by {worst.before}, then {worst.error:.3g} by {worst.method}",
        PlanWarning,
        stacklevel=5,
    )
