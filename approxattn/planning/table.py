"""A plan in words: one line, a small table, and a line for each head."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from approxattn.planning.record import HeadPlan, Plan

HEADER = f"{'head':>10}{'error':>9}{'worst block':>13}{'above':>8}{'time':>8}  method"


def summary(plan: Plan) -> str:
    """Return one line."""
    return (
        f"{len(plan.heads)} heads, {plan.left_exact} left exact, relative error "
        f"{plan.relative_error:g} with confidence {plan.confidence:g}, time over exact "
        f"{plan.relative_seconds:.3g}"
    )


def rows(plan: Plan) -> dict[str, str]:
    """Return names and values: how many heads have which method, and what was asked for."""
    found = {
        name: f"{len(numbers)} head{'s' if len(numbers) > 1 else ''}"
        for name, numbers in plan.groups().items()
    }
    return {
        **found,
        "statement, for each head": statement(plan),
        "planned on": f"{len(plan.lengths)} text(s) of {', '.join(map(str, plan.lengths))} queries",
        **({"on a text left out": plan.transfer._summary()} if plan.transfer else {}),
        "multiply-adds over exact": f"{plan.relative_cost:.3g}",
        "time over exact": f"{plan.relative_seconds:.3g}",
        "seconds spent": f"{plan.seconds:.3g}",
    }


def statement(plan: Plan) -> str:
    """Return what is known of each head."""
    return (
        f"with confidence {plan.confidence:g}, all but {100 * plan.exceeding:g} % of the blocks of "
        f"{plan.block} rows err by at most {plan.margin * plan.relative_error:.3g} (Frobenius, "
        "relative) on the texts given"
    )


def text(plan: Plan) -> str:
    """Return the table of all heads, and what holds for each."""
    lines = [HEADER, *(line(plan, number) for number in range(len(plan.heads)))]
    return "\n".join([*lines, *foot(plan)])


def foot(plan: Plan) -> list[str]:
    """Return what stands below the heads."""
    found = [f"Each head: {statement(plan)}.", f"{summary(plan)}; {plan.seconds:.3g} s spent."]
    if plan.transfer:
        found.append(f"On a text left out: {plan.transfer._summary()}.")
    if plan.untimed:
        found.append(f"{plan.untimed} candidates were not tried: the time was up.")
    if plan.refused:
        found.append(
            f"{len(plan.refused)} candidates have no form here, the first: {plan.refused[0]}"
        )
    return found


def line(plan: Plan, number: int) -> str:
    """Return the line of one head."""
    head = plan.heads[number]
    index = np.unravel_index(number, plan.shape) if plan.shape else ()
    name = ", ".join(str(int(i)) for i in index) or "-"
    return f"{name:>10}{figures(plan, head)}"


def figures(plan: Plan, head: HeadPlan) -> str:
    """Return the figures of one head, and its method."""
    if head.candidate is None:
        return f"{0:>9}{0:>13}{0:>8}{1:>8}  {head.name}: {head.reason}"
    seconds = plan.candidates[head.candidate].seconds / plan.exact_seconds
    time = f"{seconds:.2f}" if math.isfinite(seconds) else "-"
    above = f"{100 * head.exceeding:.2g} %"
    return f"{head.error:>9.3g}{head.largest:>13.3g}{above:>8}{time:>8}  {head.name}"
