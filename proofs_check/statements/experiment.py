"""The six kinds of experiment, as pure data.

An experiment holds the mathematics (callables that a paper's file defines) and the plan; how it is
carried out is in `proofs_check.checkers`. Heavy libraries (SymPy, python-flint, Hypothesis) are
imported inside those callables, so that listing the catalogue stays quick.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, TypeAlias

import numpy as np

from proofs_check.statements import named
from proofs_check.statements.assumption import Assumption, Instance
from proofs_check.statements.comparison import Comparison, Exact, Identity
from proofs_check.statements.rules import check_covers, require
from proofs_check.statements.sample import Plan, Sample
from proofs_check.statements.verdict import Covers

__all__ = [
    "Assumption",
    "Comparison",
    "Continuous",
    "Count",
    "Enclose",
    "Experiment",
    "Falsify",
    "Identity",
    "Instance",
    "Plan",
    "Sample",
    "Scale",
    "Symbolic",
]


@dataclass(frozen=True, kw_only=True)
class Symbolic:
    """Identities decided by computer algebra.

    Parameters
    ----------
    identities : callable
        Returns the things that must vanish: `Identity` triples, pairs (lhs, rhs), or single SymPy
        expressions, SymPy ring elements, ints or Fractions. With grade ``pit(2^-k)`` it is called
        with a ``numpy.random.Generator`` and returns residues (ints reduced modulo the prime) at
        random points.
    grade : str
        ``symbolic``, ``exact-rational``, or ``pit(2^-k)``, where 2^-k bounds the probability of a
        false proof.
    scope : str
        The sizes proved, for example "n = 4, d = 3".
    covers : {"statement", "step"}
        Whether the verdict is about the theorem's statement, on the scope named, or about a step
        of its derivation only.
    """

    identities: Callable[..., Iterable[Any]]
    grade: str = "symbolic"
    scope: str
    covers: Covers

    def __post_init__(self) -> None:
        check_covers(self.covers, can_prove=True)
        rule = (
            f"grade(={self.grade!r}) is none of 'symbolic', 'exact-rational', 'pit(2^-k)': say how"
        )
        require(re.fullmatch(r"symbolic|exact-rational|pit\(2\^-[0-9]+\)", self.grade), rule)
        require(self.scope, "scope(='') is empty: say for which sizes the identities are decided")


@dataclass(frozen=True, kw_only=True)
class Enclose:
    """A relation decided by ball arithmetic, on a closed box or for given instances.

    Give either ``lhs``, ``rhs`` and ``box`` (adaptive subdivision) or ``certify`` (a list of
    enclosures).

    Parameters
    ----------
    lhs, rhs : callable
        Functions of one ``arb`` ball per side of the box, returning a ball.
    box : tuple of (low, high)
        Closed intervals with exact ends (int, Fraction, or a float taken as the dyadic it is).
    certify : callable
        ``certify(bits)`` returns `Comparison` triples, computed by ball arithmetic at that
        precision.
    relation : {"<=", "="}
        ``lhs <= rhs + radius``, or ``|lhs - rhs| <= radius``.
    radius : int or Fraction
        Slack of the relation, part of the statement: it appears in the scope.
    scope : str
        What is covered, for example "for all x in [-8, 8]".
    covers : {"statement", "step"}
        Whether the verdict is about the theorem's statement, on the scope named, or about a step
        of its derivation only.
    depth : int
        How often an interval may be halved before the box counts as undecided.
    bits : int
        Working precision to start from; it is doubled twice while anything is undecided.
    """

    lhs: Callable[..., Any] | None = None
    rhs: Callable[..., Any] | None = None
    box: tuple[tuple[int | float | Fraction, int | float | Fraction], ...] = ()
    certify: Callable[[int], Iterable[Comparison]] | None = None
    relation: Literal["<=", "="] = "<="
    radius: int | Fraction = 0
    scope: str
    covers: Covers
    depth: int = 40
    bits: int = 96

    def __post_init__(self) -> None:
        check_covers(self.covers, can_prove=True)
        on_box = self.lhs is not None and self.rhs is not None and len(self.box) > 0
        nothing_of_box = self.lhs is None and self.rhs is None and not self.box
        rule = (
            "lhs, rhs, box and certify are given in part: give either lhs, rhs and box, or certify"
        )
        require(on_box if self.certify is None else nothing_of_box, rule)
        for low, high in self.box:
            rule = f"box(={self.box}) has the empty side ({low}, {high}): give the lower end first"
            require(low <= high, rule)
        rule = f"relation(={self.relation!r}) is neither '<=' nor '=': turn the sides round"
        require(self.relation in ("<=", "="), rule)
        rule = f"radius(={self.radius}) is negative: put what is gained on the right-hand side"
        require(self.radius >= 0, rule)
        require(self.scope, "scope(='') is empty: say what the enclosure covers")
        require(self.depth >= 0, f"depth(={self.depth}) is negative: 0 halves nothing")
        require(self.bits >= 2, f"bits(={self.bits}) is below 2: 96 is usual")


@dataclass(frozen=True, kw_only=True)
class Continuous:
    """How an optimiser may move an instance.

    Parameters
    ----------
    to_vector : callable
        ``to_vector(instance)`` returns the numbers that may be moved, one after the other.
    from_vector : callable
        ``from_vector(vector, instance)`` returns the instance with these numbers in their places.
    """

    to_vector: Callable[[Instance], np.ndarray]
    from_vector: Callable[[np.ndarray, Instance], Instance]


@dataclass(frozen=True, kw_only=True)
class Falsify:
    """A search for an instance with ``measured > bound``; it can refute but never prove.

    Parameters
    ----------
    instances : callable
        Returns a Hypothesis strategy of instances (string-keyed dicts), simple ones first: small
        integers, ties, zeros.
    measured, bound : callable
        The two sides in floats, for the search only. An equality is searched as |difference|
        against a float tolerance.
    confirm : callable
        ``confirm(instance) -> (measured, bound)`` in ``arb`` balls (grade ``ball``) or exact
        rationals (grade ``exact-rational``), for instances of dyadic floats and integers. Only this
        decides, in a fresh process, so it must be a module-level function, or a `functools.partial`
        of one whose fixed arguments `proofs_check.statements.serial` can write down. Balls should
        be computed at a stated precision inside it.
    assumptions : tuple of Assumption
        What an instance must satisfy; re-asserted on the witness in the fresh process.
    eliminate : callable or None
        ``eliminate(instance) -> instance`` puts one block of variables at its best in closed form,
        such as the values at the signs of what they multiply. Every instance goes through it before
        it is measured, so that the search moves in the other variables only.
    continuous : Continuous or None
        Lets an optimiser improve on the best instance found.
    examples : tuple of Instance
        Instances to try first, for example the published counterexample.
    scope : str
        The class of instances searched.
    covers : {"statement"}
        A search, a sample or a timing speaks of the statement; no step rests on one.
    tries : int
        Number of Hypothesis examples with the quick budget (the full budget takes ten times as
        many).
    """

    instances: Callable[[], Any]
    measured: Callable[[Instance], float]
    bound: Callable[[Instance], float]
    confirm: Callable[[Instance], tuple[Exact, Exact]]
    assumptions: tuple[Assumption, ...] = ()
    eliminate: Callable[[Instance], Instance] | None = None
    continuous: Continuous | None = None
    examples: tuple[Instance, ...] = ()
    scope: str
    covers: Covers
    tries: int = 300

    def __post_init__(self) -> None:
        check_covers(self.covers, can_prove=False)
        named.written(self.confirm, "confirm")
        require(self.scope, "scope(='') is empty: say which instances are searched")
        require(self.tries >= 1, f"tries(={self.tries}) is below 1: 300 is usual")


@dataclass(frozen=True, kw_only=True)
class Count:
    """A cost formula against operations counted while real code runs.

    Parameters
    ----------
    measured : callable
        ``measured(size) -> int``, counted by running the code on `proofs_check.arithmetic.counting`
        arrays.
    formula : callable
        ``formula(size) -> int``, from the paper.
    sizes : tuple of int
        Every size is tried.
    relation : {"=", "<="}
        Counted operations equal the formula, or stay below it.
    scope : str
        What is counted.
    covers : {"statement", "step"}
        Whether the verdict is about the theorem's statement, on the scope named, or about a step
        of its derivation only.
    """

    measured: Callable[[int], int]
    formula: Callable[[int], int | Fraction]
    sizes: tuple[int, ...]
    relation: Literal["=", "<="] = "="
    scope: str
    covers: Covers

    def __post_init__(self) -> None:
        check_covers(self.covers, can_prove=True)
        require(len(self.sizes) > 0, "sizes(=()) is empty: say at which sizes to count")
        rule = f"relation(={self.relation!r}) is neither '=' nor '<=': pass one of them"
        require(self.relation in ("=", "<="), rule)
        require(self.scope, "scope(='') is empty: say what is counted")


@dataclass(frozen=True, kw_only=True)
class Scale:
    """A claim about the growth of running time: the log-log slope lies in an interval.

    Timing separates n from n^1.5 and above; it cannot separate n log n from n^1.1 (use `Count`).

    Parameters
    ----------
    workload : callable
        ``workload(size)`` prepares an input and returns a function of no argument, the part that is
        timed.
    sizes : tuple of int
        At least four increasing sizes.
    slope : tuple of float
        The claimed interval of the slope d log(time) / d log(size).
    repeats : int
        Timings per size; the smallest counts.
    clock : callable
        Seconds of processor time.
    scope : str
        What is timed, and on what.
    covers : {"statement"}
        A search, a sample or a timing speaks of the statement; no step rests on one.
    """

    workload: Callable[[int], Callable[[], object]]
    sizes: tuple[int, ...]
    slope: tuple[float, float]
    repeats: int = 5
    clock: Callable[[], float] = time.process_time
    scope: str
    covers: Covers

    def __post_init__(self) -> None:
        check_covers(self.covers, can_prove=False)
        increasing = list(self.sizes) == sorted(set(self.sizes)) and len(self.sizes) >= 4
        rule = (
            f"sizes(={self.sizes}) are no increasing sequence of at least four: give more of them"
        )
        require(increasing, rule)
        rule = f"slope(={self.slope}) is no interval: give the lower end first"
        require(self.slope[0] < self.slope[1], rule)
        require(self.repeats >= 1, f"repeats(={self.repeats}) is below 1: 5 is usual")
        require(self.scope, "scope(='') is empty: say what is timed, and on what")


Experiment: TypeAlias = Symbolic | Enclose | Falsify | Sample | Count | Scale
