"""Relations between balls, on a box by subdivision or for enclosures that were computed."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from proofs_check.arithmetic.balls import ball, hull, precision
from proofs_check.checkers import exact
from proofs_check.checkers.budget import Budget
from proofs_check.statements.experiment import Comparison, Enclose
from proofs_check.statements.verdict import Status, Verdict, inconclusive

_MOST_BOXES = {"quick": 20_000, "full": 400_000}

Box = tuple[tuple[Fraction, Fraction], ...]


def check(experiment: Enclose, *, rng_seed: int, budget: Budget) -> Verdict:
    """Prove or refute the relation; what neither more precision nor more boxes decide is
    inconclusive.
    """
    del rng_seed
    return (
        _certify(experiment)
        if experiment.certify is not None
        else _cover(experiment, _MOST_BOXES[budget])
    )


def _certify(experiment: Enclose) -> Verdict:
    # Narrows the type; the constructor guarantees it.
    assert experiment.certify is not None  # noqa: S101
    undecided: list[str] = []
    for bits in (experiment.bits, 2 * experiment.bits, 4 * experiment.bits):
        with precision(bits):
            comparisons = [
                c if isinstance(c, Comparison) else Comparison(*c) for c in experiment.certify(bits)
            ]
            if not comparisons:
                return inconclusive("the experiment produced nothing to compare")
            held = [
                exact.holds(c.lhs, c.rhs, experiment.relation, experiment.radius)
                for c in comparisons
            ]
            if False in held:
                return _refuted(experiment, comparisons[held.index(False)])
            undecided = [
                c.label or f"comparison {i}"
                for i, (c, h) in enumerate(zip(comparisons, held, strict=True))
                if h is None
            ]
            if not undecided:
                return _proved(experiment, comparisons, bits)
    return inconclusive(f"enclosures too wide at {bits} bits for {', '.join(undecided[:5])}")


def _proved(experiment: Enclose, comparisons: list[Comparison], bits: int) -> Verdict:
    grades = {exact.grade(c.lhs, c.rhs) for c in comparisons}
    return Verdict(
        status=Status.PROVED,
        grade="ball" if "ball" in grades else "exact-rational",
        scope=_scope(experiment),
        tightness=_tightness(experiment, comparisons),
        facts={"comparisons": len(comparisons), "bits": bits},
    )


def _tightness(experiment: Enclose, comparisons: list[Comparison]) -> float | None:
    if experiment.relation == "=":
        return None
    ratios = [exact.ratio(c.lhs, c.rhs) for c in comparisons]
    return max((r for r in ratios if r is not None), default=None)


def _refuted(
    experiment: Enclose, c: Comparison, point: tuple[Fraction, ...] | None = None
) -> Verdict:
    witness: dict[str, Any] = {"lhs": exact.interval(c.lhs), "rhs": exact.interval(c.rhs)}
    witness |= (
        {"point": point} if point is not None else {"label": c.label or "the only comparison"}
    )
    return Verdict(
        status=Status.REFUTED,
        grade=exact.grade(c.lhs, c.rhs),
        scope=_scope(experiment),
        tightness=_tightness(experiment, [c]),
        witness=witness,
        note=(
            "the enclosures lie the wrong way "
            f"{'at ' + ', '.join(map(str, point)) if point else 'for ' + c.label}"
        ),
    )


def _scope(experiment: Enclose) -> str:
    return (
        f"{experiment.scope}, up to {experiment.radius}" if experiment.radius else experiment.scope
    )


def _compare(experiment: Enclose, sides: list[Any]) -> Comparison:
    # Narrows the types.
    assert experiment.lhs is not None and experiment.rhs is not None  # noqa: S101, PT018
    return Comparison(experiment.lhs(*sides), experiment.rhs(*sides))


def _cover(experiment: Enclose, most: int) -> Verdict:
    """Subdivide until every box is certain; test the midpoint of every box that is not."""
    start: Box = tuple((Fraction(low), Fraction(high)) for low, high in experiment.box)
    boxes: list[tuple[Box, int]] = [(start, 0)]
    done, best = 0, None
    while boxes:
        box, depth = boxes.pop()
        done += 1
        if done > most:
            return inconclusive(
                f"not decided with {most} boxes", tightness=best, facts={"boxes": most}
            )
        midpoint = tuple((low + high) / 2 for low, high in box)
        at_midpoint = _decide(experiment, tuple((x, x) for x in midpoint))
        ratio = _tightness(experiment, [at_midpoint[1]])
        best = ratio if best is None else best if ratio is None else max(best, ratio)
        if at_midpoint[0] is False:
            return _refuted(experiment, at_midpoint[1], midpoint)
        if _decide(experiment, box)[0] is True:
            continue
        if depth >= experiment.depth * len(box) or all(low == high for low, high in box):
            note = (
                f"not decided near {', '.join(f'{float(x):.6g}' for x in midpoint)} after halving "
                f"{depth} times"
            )
            return inconclusive(note, tightness=best, facts={"boxes": done})
        boxes.extend((half, depth + 1) for half in _halves(box))
    return Verdict(
        status=Status.PROVED,
        grade="ball",
        scope=_scope(experiment),
        tightness=best,
        facts={"boxes": done, "bits": experiment.bits},
    )


def _decide(experiment: Enclose, box: Box) -> tuple[bool | None, Comparison]:
    """A box with equal ends is a point, where only more precision can help."""
    is_point = all(low == high for low, high in box)
    for bits in (experiment.bits, 4 * experiment.bits) if is_point else (experiment.bits,):
        with precision(bits):
            sides = [ball(low) if low == high else hull(ball(low), ball(high)) for low, high in box]
            comparison = _compare(experiment, sides)
            held = exact.holds(
                comparison.lhs, comparison.rhs, experiment.relation, experiment.radius
            )
        if held is not None:
            break
    return held, comparison


def _halves(box: Box) -> tuple[Box, Box]:
    widest = max(range(len(box)), key=lambda i: box[i][1] - box[i][0])
    low, high = box[widest]
    middle = (low + high) / 2
    left = tuple((low, middle) if i == widest else side for i, side in enumerate(box))
    right = tuple((middle, high) if i == widest else side for i, side in enumerate(box))
    return left, right
